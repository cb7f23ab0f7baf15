// SPDX-License-Identifier: Apache-2.0 OR MIT

package netdevns

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"syscall"
	"testing"
)

func TestErrorUnwrapsToErrno(t *testing.T) {
	err := fmt.Errorf("container: %w", &Error{Errno: syscall.EEXIST, Text: "eth1: the name is taken"})
	if !errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENODEV) {
		t.Errorf("%v is not just EEXIST", err)
	}
	if err.Error() != "container: eth1: the name is taken" {
		t.Errorf("got %q", err)
	}
}

func TestMissingNamespace(t *testing.T) {
	for name, call := range map[string]func() error{
		"Move":    func() error { _, err := Move([]Device{{Name: "eth1"}}, "/nowhere"); return err },
		"From":    func() error { _, err := Move(nil, "/proc/self/ns/net", From("/nowhere")); return err },
		"Check":   func() error { _, err := Check([]Device{{Name: "eth1"}}, "/nowhere"); return err },
		"Recover": func() error { _, err := Recover("/nowhere"); return err },
	} {
		var failure *Error
		err := call()
		if !errors.As(err, &failure) || !errors.Is(err, syscall.ENOENT) || failure.Step != "open" || failure.Text == "" {
			t.Errorf("%s: got %#v", name, err)
		}
	}
}

func TestNotANamespace(t *testing.T) {
	for _, path := range []string{"/dev/null", "/proc/self/ns/mnt"} {
		if _, err := Check(nil, path); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestSourceIsTarget(t *testing.T) {
	if _, err := Move([]Device{{Name: "lo"}}, "/proc/thread-self/ns/net"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
}

// Messages as the kernel sends them: a header, struct ifaddrmsg, attributes.
func TestAddresses(t *testing.T) {
	messages := append(
		message(syscall.AF_INET, 24, attribute(syscall.IFA_ADDRESS, 10, 0, 0, 9), attribute(syscall.IFA_LOCAL, 10, 0, 0, 1)),
		message(syscall.AF_INET6, 64, attribute(syscall.IFA_ADDRESS, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))...,
	)
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64")}
	if got := addresses(messages); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	for end := range messages { // cut anywhere, they are no reason to panic
		addresses(messages[:end])
	}
}
