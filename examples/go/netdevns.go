// SPDX-License-Identifier: Apache-2.0 OR MIT

// Package netdevns moves existing network devices into another network namespace, with their names and addresses: all of
// them, or none.
//
// It is a thin layer over the C library in this folder (netdevns.h has the whole contract), which vendor.sh copies here.
// It needs cgo, and CAP_NET_ADMIN and CAP_SYS_ADMIN when it runs.
//
// All functions block and may be called from any goroutine. Each call has a thread for itself, because opening a socket in
// another network namespace takes its thread there and back; a thread that cannot come back (ENOTRECOVERABLE) ends, and runs
// no other goroutine before.
package netdevns

//go:generate ./vendor.sh ../../csrc

// #include "netdevns.h"
import "C"

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// A Device is a request: one device of the source and its name in the target.
type Device struct {
	Name   string // in the source; not an alternative name
	Target string // in the target, or a template with one "%d"; "": the same name
}

// Moved is a device that has arrived, as it was read back in the target.
type Moved struct {
	HostName    string
	HostIfindex int
	Name        string
	Ifindex     int
	Addresses   []netip.Prefix // in the kernel's order
}

// A State is a kind of state that a move drops, and that this library does not restore when the move fails: a bit for Accept.
type State uint32

// The bits of State; netdevns.h describes each.
const (
	DefaultRoute    State = C.NETDEVNS_DEFAULT_ROUTE
	Master          State = C.NETDEVNS_MASTER
	Routes          State = C.NETDEVNS_ROUTES
	Nexthops        State = C.NETDEVNS_NEXTHOPS
	Neighbours      State = C.NETDEVNS_NEIGHBOURS
	NeighParameters State = C.NETDEVNS_NEIGH_PARAMETERS
	Qdisc           State = C.NETDEVNS_QDISC
	Upper           State = C.NETDEVNS_UPPER
)

// Severity says what a finding means for a move.
type Severity int

// A note; state that the move drops; a reason to refuse the move.
const (
	Note    Severity = C.NETDEVNS_NOTE
	Loss    Severity = C.NETDEVNS_LOSS
	Refusal Severity = C.NETDEVNS_ERROR
)

// String returns "note", "loss" or "error".
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Loss:
		return "loss"
	}
	return "error"
}

// A Finding is one result of the checks that precede a move.
type Finding struct {
	Code     string // stable: "name.taken"
	Severity Severity
	Errno    syscall.Errno // of the refusal; 0: none
	Device   string        // in the source; "": a namespace, or the whole request
	State    State         // the bit that Accept would need, or 0
	Name     string        // the name at fault; "": none
	Other    string        // the device that has it, or is in the way; "": none
	Ifindex  int           // of Other
	Text     string        // one line
}

// An Option changes what Move, Check or Recover does.
type Option func(*options)

type options struct {
	source       string
	accept       State
	record       string
	then         func([]Moved) error
	undoComplete bool
}

// From names the namespace that the devices are in. Without it, it is the calling goroutine's: the process's, unless the
// goroutine is locked to a thread that has entered another one.
func From(netnsPath string) Option { return func(o *options) { o.source = netnsPath } }

// Accept moves devices although the move drops such state, which a failed move then does not restore.
func Accept(states ...State) Option {
	return func(o *options) {
		for _, state := range states {
			o.accept |= state
		}
	}
}

// Record makes a move safe against the death of this process: Recover restores the devices from the record that the move
// writes to the directory and removes at its end. The directory must belong to this user and be writable by nobody else.
func Record(dir string) Option { return func(o *options) { o.record = dir } }

// Then calls f when all devices have arrived. If f fails, the devices are moved back, and Move returns f's error. The record
// is there until f returns.
func Then(f func([]Moved) error) Option { return func(o *options) { o.then = f } }

// UndoComplete makes Recover move back complete batches, too: their process died between the move and the end of Then, and
// the caller knows that nobody uses the devices.
func UndoComplete() Option { return func(o *options) { o.undoComplete = true } }

// Move moves all devices into the namespace at netnsPath, or none: a failure restores all of them, unless Error.Left says
// otherwise. The result has the order of devices. Errors are *Error, except those of Then's function.
func Move(devices []Device, netnsPath string, opts ...Option) ([]Moved, error) {
	var moved []Moved
	err := withBatch(devices, netnsPath, opts, func(b *batch, o *options) error {
		if o.record != "" {
			dir, err := open(o.record)
			if err != nil {
				return err
			}
			defer dir.Close()
			if err := b.call(func(e *C.struct_netdevns_error) C.int {
				return C.netdevns_batch_record(b.c, C.int(dir.Fd()), e)
			}); err != nil {
				return err
			}
		}
		if err := b.call(func(e *C.struct_netdevns_error) C.int {
			return C.netdevns_batch_move(b.c, C.uint32_t(o.accept), e)
		}); err != nil {
			return err
		}
		moved = b.moved()
		if o.then == nil {
			return nil
		}
		err := o.then(moved)
		if err == nil {
			return nil
		}
		moved = nil
		if undo := b.call(func(e *C.struct_netdevns_error) C.int { return C.netdevns_batch_undo(b.c, e) }); undo != nil {
			return undo
		}
		return err
	})
	return moved, err
}

// Check looks for everything that can be known before a move, and changes nothing. The error is the one with which Move would
// refuse to begin; nil: it would begin.
func Check(devices []Device, netnsPath string, opts ...Option) ([]Finding, error) {
	var found []Finding
	err := withBatch(devices, netnsPath, opts, func(b *batch, o *options) error {
		err := b.call(func(e *C.struct_netdevns_error) C.int {
			return C.netdevns_batch_check(b.c, C.uint32_t(o.accept), e)
		})
		found = b.findings()
		return err
	})
	return found, err
}

// Recover restores the devices of every record in the directory whose process has died. It returns one line for each device;
// the error is the first failure, after all records were tried.
func Recover(dir string, opts ...Option) (string, error) {
	o := collect(opts)
	folder, err := open(dir)
	if err != nil {
		return "", err
	}
	defer folder.Close()
	report := make([]byte, 1<<16)
	undoComplete := C.int(0)
	if o.undoComplete {
		undoComplete = 1
	}
	err = onThread(func() error {
		return (&batch{}).call(func(e *C.struct_netdevns_error) C.int {
			return C.netdevns_recover(C.NETDEVNS_VERSION, C.int(folder.Fd()), undoComplete,
				(*C.char)(unsafe.Pointer(&report[0])), C.size_t(len(report)), e)
		})
	})
	text, _, _ := strings.Cut(string(report), "\x00")
	return text, err
}

func collect(opts []Option) *options {
	o := &options{source: "/proc/thread-self/ns/net"}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

func open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		e := &Error{Errno: syscall.EINVAL, Step: "open", Text: err.Error()}
		errors.As(err, &e.Errno)
		return nil, e
	}
	return file, nil
}

// onThread calls f on a thread that runs nothing else meanwhile. In the wrong namespace the thread ends: a goroutine that
// returns without unlocking takes its thread along. The main thread cannot end, and is the one whose namespace /proc/PID/ns
// shows: it leaves f to another.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() == syscall.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		err := f()
		if !errors.Is(err, syscall.ENOTRECOVERABLE) {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// withBatch opens both namespaces, in the caller's goroutine, because its thread may be in another one than the others. Then it
// calls f with a batch of the devices.
func withBatch(devices []Device, netnsPath string, opts []Option, f func(*batch, *options) error) error {
	o := collect(opts)
	source, err := open(o.source)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := open(netnsPath)
	if err != nil {
		return err
	}
	defer target.Close()
	return onThread(func() error {
		b := &batch{devices: devices}
		if err := b.call(func(e *C.struct_netdevns_error) C.int {
			return C.netdevns_batch_open(&b.c, C.NETDEVNS_VERSION, C.int(source.Fd()), C.int(target.Fd()), e)
		}); err != nil {
			return err
		}
		defer func() { C.netdevns_batch_close(b.c) }()
		for _, device := range devices {
			if err := b.add(device); err != nil {
				return err
			}
		}
		return f(b, o)
	})
}
