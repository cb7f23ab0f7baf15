// SPDX-License-Identifier: Apache-2.0 OR MIT

package netdevns_test

import (
	"errors"
	"fmt"
	"log"
	"syscall"

	"netdevns"
)

// A runtime gives a container two devices, and takes them back if the container does not start.
func ExampleMove() {
	start := func([]netdevns.Moved) error { return nil }
	moved, err := netdevns.Move(
		[]netdevns.Device{{Name: "eth1", Target: "net0"}, {Name: "mv0", Target: "eth%d"}},
		"/proc/4711/ns/net",
		netdevns.Record("/run/runtime/records"),
		netdevns.Then(start),
	)
	var failure *netdevns.Error
	switch {
	case errors.Is(err, syscall.EEXIST):
		log.Print("the container has such a device already: ", err)
	case errors.As(err, &failure) && failure.Left > 0:
		log.Printf("%s is in the %s: %v", failure.Device, failure.Location, err)
	case err != nil:
		log.Print(err)
	}
	for _, device := range moved {
		fmt.Println(device.HostName, device.Name, device.Addresses)
	}
}
