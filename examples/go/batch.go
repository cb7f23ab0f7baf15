// SPDX-License-Identifier: Apache-2.0 OR MIT

package netdevns

// #include <stdlib.h>
// #include "netdevns.h"
import "C"

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"unsafe"
)

// An Error is a call that failed. All devices are as before unless Left says otherwise.
type Error struct {
	Errno    syscall.Errno
	Step     string    // "open", "add", "check", "record", "down", "notify", "move", "replay", "verify", "undo", ...
	Device   string    // in the source; "": a namespace, or the whole request
	Location string    // where Device is now: "source", "target", "gone" or "unknown"; "" without a Device
	Left     int       // devices that are not as before
	Missing  []string  // each of those: "eth1 (target): its differences"
	Text     string    // one line: the device and the failure; devices that are not restored, with their places
	Findings []Finding // of the checks, where they refused the move
}

// Error returns Text.
func (e *Error) Error() string { return e.Text }

// Unwrap returns Errno, so that errors.Is(err, syscall.EEXIST) works.
func (e *Error) Unwrap() error { return e.Errno }

// A batch is the C handle and its devices.
type batch struct {
	c       *C.struct_netdevns_batch
	devices []Device
}

// call calls a C function and returns its failure as *Error.
func (b *batch) call(f func(*C.struct_netdevns_error) C.int) error {
	var e C.struct_netdevns_error
	code := f(&e)
	if code == 0 {
		return nil
	}
	err := &Error{
		Errno: syscall.Errno(-code),
		Step:  C.GoString(e.step),
		Left:  int(e.left),
		Text:  C.GoString(&e.text[0]),
	}
	if b.c == nil {
		return err
	}
	if i := int(e.device); i >= 0 && i < len(b.devices) {
		err.Device = b.devices[i].Name
		if d := C.netdevns_batch_device(b.c, C.size_t(i)); d != nil {
			err.Location = location(d.location)
		}
	}
	for i := 0; err.Left > 0 && i < len(b.devices); i++ {
		d := C.netdevns_batch_device(b.c, C.size_t(i))
		if missing := C.GoString(d.missing); missing != "" || d.location != C.NETDEVNS_SOURCE {
			err.Missing = append(err.Missing, fmt.Sprintf("%s (%s): %s", b.devices[i].Name, location(d.location), missing))
		}
	}
	err.Findings = b.findings()
	return err
}

func location(where C.int) string {
	switch where {
	case C.NETDEVNS_SOURCE:
		return "source"
	case C.NETDEVNS_TARGET:
		return "target"
	case C.NETDEVNS_GONE:
		return "gone"
	}
	return "unknown"
}

func (b *batch) add(device Device) error {
	if strings.ContainsRune(device.Name+device.Target, 0) { // a C string would end there
		text := fmt.Sprintf("%q: a name has no NUL byte", device.Name+"="+device.Target)
		return &Error{Errno: syscall.EINVAL, Step: "add", Device: device.Name, Location: "unknown", Text: text}
	}
	name, target := C.CString(device.Name), C.CString(device.Target)
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(target))
	return b.call(func(e *C.struct_netdevns_error) C.int { return C.netdevns_batch_add(b.c, name, target, e) })
}

// moved copies the results of a move: the C library's memory is valid until the next call.
func (b *batch) moved() []Moved {
	var found []Moved
	for i := C.size_t(0); ; i++ {
		d := C.netdevns_batch_device(b.c, i)
		if d == nil {
			return found
		}
		found = append(found, Moved{
			HostName:    C.GoString(d.ifname),
			HostIfindex: int(d.host_ifindex),
			Name:        C.GoString(d.name),
			Ifindex:     int(d.ifindex),
			Addresses:   addresses(C.GoBytes(d.addresses, C.int(d.addresses_len))),
		})
	}
}

func (b *batch) findings() []Finding {
	var found []Finding
	for i := C.size_t(0); ; i++ {
		f := C.netdevns_batch_finding(b.c, i)
		if f == nil {
			return found
		}
		finding := Finding{
			Code:     C.GoString(f.code),
			Severity: Severity(f.severity),
			Errno:    syscall.Errno(f.error),
			State:    State(f.state),
			Name:     C.GoString(f.name),
			Other:    C.GoString(f.other),
			Ifindex:  int(f.ifindex),
			Text:     C.GoString(f.text),
		}
		if n := int(f.device); n >= 0 && n < len(b.devices) {
			finding.Device = b.devices[n].Name
		}
		found = append(found, finding)
	}
}

// addresses decodes RTM_NEWADDR messages. The device's own address is IFA_LOCAL; with IPv6 and without a peer there is only
// IFA_ADDRESS.
func addresses(messages []byte) []netip.Prefix {
	var found []netip.Prefix
	parsed, err := syscall.ParseNetlinkMessage(messages)
	if err != nil {
		return nil
	}
	for i := range parsed {
		attributes, err := syscall.ParseNetlinkRouteAttr(&parsed[i])
		if err != nil {
			continue
		}
		var local, address []byte
		for _, attribute := range attributes {
			switch attribute.Attr.Type {
			case syscall.IFA_LOCAL:
				local = attribute.Value
			case syscall.IFA_ADDRESS:
				address = attribute.Value
			}
		}
		if local == nil {
			local = address
		}
		if addr, ok := netip.AddrFromSlice(local); ok {
			found = append(found, netip.PrefixFrom(addr, int(parsed[i].Data[1]))) // ifa_prefixlen
		}
	}
	return found
}
