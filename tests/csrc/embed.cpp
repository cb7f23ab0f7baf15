// SPDX-License-Identifier: Apache-2.0 OR MIT
// A C++ program that embeds csrc/: the batch's header, or the core's.
#include "netdevns.h"
#include "netdevns-core.h"

#include <cstdio>
#include <vector>

int main()
{
	std::vector<uint64_t> memory(ND_DEV_SIZE_MIN / sizeof(uint64_t)); // aligned to 8 bytes
	nd_sock source{};
	nd_dev *dev = nullptr;
	nd_err err{};

	if (nd_sock_open(&source, -1, nullptr, 0, &err) != 0 ||
	    nd_dev_init(&dev, memory.data(), ND_DEV_SIZE_MIN, "lo", "net0", &err) != 0 ||
	    nd_dev_snapshot(dev, &source, &err) != 0) {
		std::printf("%d %s\n", err.code, err.text);
		return 1;
	}
	nd_sock_close(&source);

	netdevns_batch *batch = nullptr;
	netdevns_error error{};

	if (netdevns_batch_open(&batch, NETDEVNS_VERSION, -1, -1, &error) == 0 || batch || !error.text[0])
		return 1; // -1 is no target
	netdevns_batch_close(batch);
	std::printf("%s %d %d\n", dev->ifname, dev->ifindex, dev->place);
}
