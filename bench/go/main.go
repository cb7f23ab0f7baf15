// A peer of the benchmark: moves devices with vishvananda/netlink, in the way of container runtimes written in Go.
//
// For each device, as runc's "linux.netDevices" does it: the link by its name, its addresses, down, one RTM_NEWLINK
// with the name and the descriptor of the namespace; then a netlink handle in the target, the link there by its new
// name, each permanent address of global scope, up. One thing is kinder than runc: the addresses are listed before the
// device is set down, because the kernel then drops those of IPv6, and a contestant that loses them is not counted.
//
// Arguments: the target's descriptor, OLD=NEW of each device; in front of them perhaps --warm FD,NAME,...: devices that
// it moves there before it is ready, so that the job is not the process's first. Writes "ready", does the job once when a line comes, and
// answers with one line of JSON: wall_s, cpu_s of this process, which is user_s and system_s, and its max_rss_kib.
// --version prints the library's version.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

type device struct{ from, to string }

var version = "unknown" // set by the build: Debian's package has no go.mod

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("github.com/vishvananda/netlink", version)
		return
	}
	if err := work(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "go-peer:", err)
		os.Exit(1)
	}
}

func work(args []string) error {
	if len(args) > 1 && args[0] == "--warm" {
		if err := warmUp(strings.Split(args[1], ",")); err != nil {
			return fmt.Errorf("--warm: %w", err)
		}
		args = args[2:]
	}
	target, devices, err := parse(args)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return nil // the caller has gone: nothing is to be done
	}
	begun, before := time.Now(), usage()
	for _, each := range devices {
		if err := move(each, target); err != nil {
			return fmt.Errorf("%s: %w", each.from, err)
		}
	}
	wall, after := time.Since(begun), usage()
	user, system := seconds(after.Utime)-seconds(before.Utime), seconds(after.Stime)-seconds(before.Stime)
	peak, err := peakKiB()
	if err != nil {
		return err
	}
	answer := map[string]any{
		"wall_s": wall.Seconds(), "cpu_s": user + system, "user_s": user, "system_s": system,
		"max_rss_kib": peak,
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		return err
	}
	for { // what the kernel frees when a process ends is not this job's
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return nil
		}
	}
}

func warmUp(words []string) error {
	fd, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	for _, name := range words[1:] {
		if err := move(device{name, name}, netns.NsHandle(fd)); err != nil {
			return err
		}
	}
	return nil
}

func parse(args []string) (netns.NsHandle, []device, error) {
	if len(args) < 2 {
		return 0, nil, fmt.Errorf("usage: go-peer [--warm FD,NAME,...] TARGET_FD OLD=NEW...")
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return 0, nil, err
	}
	var devices []device
	for _, arg := range args[1:] {
		from, to, ok := strings.Cut(arg, "=")
		if !ok {
			return 0, nil, fmt.Errorf("%q is not OLD=NEW", arg)
		}
		devices = append(devices, device{from, to})
	}
	return netns.NsHandle(fd), devices, nil
}

func move(d device, target netns.NsHandle) error {
	link, err := netlink.LinkByName(d.from)
	if err != nil {
		return err
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return err
	}
	if err := send(link.Attrs().Index, d.to, target); err != nil {
		return err
	}

	there, err := netlink.NewHandleAt(target)
	if err != nil {
		return err
	}
	defer there.Delete()
	if link, err = there.LinkByName(d.to); err != nil {
		return err
	}
	for i := range addresses {
		if err := give(there, link, &addresses[i]); err != nil {
			return err
		}
	}
	return there.LinkSetUp(link)
}

// send moves and renames in one request, which the library has no function for.
func send(ifindex int, name string, target netns.NsHandle) error {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(ifindex)
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	request.AddData(header)
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	request.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(target))))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// give adds an address anew, unless the kernel makes it by itself (link-local) or takes it away (a lifetime).
func give(there *netlink.Handle, link netlink.Link, address *netlink.Addr) error {
	if address.Flags&unix.IFA_F_PERMANENT == 0 || address.Scope != unix.RT_SCOPE_UNIVERSE {
		return nil
	}
	address.Label = "" // names the device as it was called
	address.Flags, address.ValidLft, address.PreferedLft = 0, 0, 0
	return there.AddrAdd(link, address)
}

func usage() unix.Rusage {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		panic(err) // a wrong pointer is the only reason
	}
	return used
}

func seconds(t unix.Timeval) float64 { return time.Duration(t.Nano()).Seconds() }

// peakKiB is VmHWM: getrusage counts what the process was before it was this program, too.
func peakKiB() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, errors.New("/proc/self/status: no VmHWM")
}
