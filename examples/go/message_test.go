// SPDX-License-Identifier: Apache-2.0 OR MIT

package netdevns

import (
	"bytes"
	"syscall"
	"unsafe"
)

// message builds an RTM_NEWADDR message; attribute, one of its attributes.
func message(family, prefixlen byte, attributes ...[]byte) []byte {
	body := append([]byte{family, prefixlen, 0, 0, 0, 0, 0, 0}, bytes.Join(attributes, nil)...)
	header := syscall.NlMsghdr{Len: uint32(syscall.SizeofNlMsghdr + len(body)), Type: syscall.RTM_NEWADDR}
	return append((*[syscall.SizeofNlMsghdr]byte)(unsafe.Pointer(&header))[:], body...)
}

func attribute(kind uint16, value ...byte) []byte {
	header := syscall.RtAttr{Len: uint16(syscall.SizeofRtAttr + len(value)), Type: kind}
	return append((*[syscall.SizeofRtAttr]byte)(unsafe.Pointer(&header))[:], value...)
}
