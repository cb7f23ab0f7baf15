/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What embed.c needs of a bundle's config.json (OCI runtime-spec); all other keys are ignored, as the spec demands. */
#ifndef EMBED_CONFIG_H
#define EMBED_CONFIG_H

#define CONFIG_LIST 64	/* entries of a list, the NULL at its end included */

struct config {
	char *args[CONFIG_LIST];	/* process.args */
	char *env[CONFIG_LIST];		/* process.env */
	const char *cwd;		/* process.cwd, or "/" */
	const char *root;		/* root.path, relative to the bundle or not */
	const char *hostname;		/* NULL: none */
	const char *network;		/* linux.namespaces: the path of the network namespace to join; NULL: a new one */
	int devices;
	const char *ifname[CONFIG_LIST];	/* linux.netDevices: names in the host */
	const char *wanted[CONFIG_LIST];	/* and in the container */
	char *memory;			/* all strings lie here: config_end */
};

/* Reads config.json of the current folder. NULL, or what is wrong with it; errno is 0 unless it could not be read. */
const char *config_read(struct config *c);
void config_end(struct config *c);

#endif
