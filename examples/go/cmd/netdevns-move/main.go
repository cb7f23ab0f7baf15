// SPDX-License-Identifier: Apache-2.0 OR MIT

// Command netdevns-move moves devices of its network namespace into another one, all or none.
//
//	netdevns-move [-check] [-record DIR] [-accept BITS] NETNS-PATH DEV[=NAME]...
//	netdevns-move -recover DIR
//
// Exit codes: 0 done; 1 failed, all devices are as before; 2 refused, nothing was changed; 3 failed, and a device is not as
// before.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"netdevns"
)

func main() {
	check := flag.Bool("check", false, "print the findings, and change nothing")
	record := flag.String("record", "", "keep a record in `DIR` while devices move")
	accept := flag.Uint("accept", 0, "move although state of these `BITS` (enum netdevns_state) is dropped")
	recoverDir := flag.String("recover", "", "restore the devices of records in `DIR` whose process has died")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: netdevns-move [OPTION]... NETNS-PATH DEV[=NAME]...\n"+
			"       netdevns-move -recover DIR")
		flag.PrintDefaults()
	}
	flag.Parse()
	var err error
	switch {
	case *recoverDir != "" && flag.NArg() == 0:
		var report string
		report, err = netdevns.Recover(*recoverDir)
		fmt.Print(report)
	case *recoverDir == "" && flag.NArg() > 1:
		opts := []netdevns.Option{netdevns.Accept(netdevns.State(*accept)), netdevns.Record(*record)}
		if *check {
			err = checked(flag.Arg(0), flag.Args()[1:], opts)
		} else {
			err = moved(flag.Arg(0), flag.Args()[1:], opts)
		}
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "netdevns-move: %v\n", err)
		var failure *netdevns.Error
		if errors.As(err, &failure) {
			for _, device := range failure.Missing {
				fmt.Fprintf(os.Stderr, "netdevns-move: not restored: %s\n", device)
			}
		}
		os.Exit(exitCode(err))
	}
}

func devices(words []string) []netdevns.Device {
	var found []netdevns.Device
	for _, word := range words {
		name, target, _ := strings.Cut(word, "=")
		found = append(found, netdevns.Device{Name: name, Target: target})
	}
	return found
}

func moved(path string, words []string, opts []netdevns.Option) error {
	arrived, err := netdevns.Move(devices(words), path, opts...)
	for _, device := range arrived {
		fmt.Printf("%s -> %s (ifindex %d)", device.HostName, device.Name, device.Ifindex)
		for _, address := range device.Addresses {
			fmt.Print(" ", address)
		}
		fmt.Println()
	}
	return err
}

func checked(path string, words []string, opts []netdevns.Option) error {
	findings, err := netdevns.Check(devices(words), path, opts...)
	for _, finding := range findings {
		fmt.Printf("%v %s: %s\n", finding.Severity, finding.Code, finding.Text)
	}
	return err
}

func exitCode(err error) int {
	var failure *netdevns.Error
	switch {
	case !errors.As(err, &failure):
		return 1
	case failure.Left > 0:
		return 3
	case failure.Step == "open" || failure.Step == "add" || failure.Step == "check":
		return 2
	}
	return 1
}
