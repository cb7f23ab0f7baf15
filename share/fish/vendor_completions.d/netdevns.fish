# Made by tools/pages, with shtab: do not edit.

# Custom Preamble
function _netdevns_devices
  tail -n +3 /proc/net/dev | string match -r '[^ :]+(?=:)' | string match -v lo
end
function _netdevns_namespaces
  if string match -q '*/*' -- (commandline -ct)
    __fish_complete_path (commandline -ct)
    return
  end
  for path in /run/netns/*
    basename -- $path
  end
end
function _netdevns_kinds
  __fish_append , sysctls routes neighbours
end
function _netdevns_probes
  string split ' ' 'spec abi varies diff'
end
# End Custom Preamble

# Parse current commandline:
# - _shtab_netdevns_cmdpath=(sub)command path seen so far
# - _shtab_netdevns_npos=number of positional arguments given after it
# - options are skipped based on _shtab_netdevns_opts_with_value & _shtab_netdevns_commands lists
function _shtab_netdevns_scan
  set -g _shtab_netdevns_cmdpath ''
  set -g _shtab_netdevns_npos 0
  set -l tokens (commandline -opc)
  set -e tokens[1]
  set -l expect_value 0
  for t in $tokens
    if test $expect_value -eq 1
      set expect_value 0
      continue
    end
    switch "$t"
      case '--*=*'
        continue
      case '-*'
        if contains -- $t $_shtab_netdevns_opts_with_value
          set expect_value 1
        end
        continue
      case '*'
        if test $_shtab_netdevns_npos -eq 0
          set -l candidate $t
          if test -n "$_shtab_netdevns_cmdpath"
            set candidate "$_shtab_netdevns_cmdpath $t"
          end
          if contains -- $candidate $_shtab_netdevns_commands
            set -g _shtab_netdevns_cmdpath $candidate
            continue
          end
        end
        set -g _shtab_netdevns_npos (math $_shtab_netdevns_npos + 1)
    end
  end
end

# Condition helper: true if the current (sub)command path equals the given one.
function _shtab_netdevns_using
  _shtab_netdevns_scan
  test "$_shtab_netdevns_cmdpath" = "$argv"
end

set -g _shtab_netdevns_commands move apply check show doctor hook recover return prepare features conformance cdi hooks-dir units netavark nri demo
set -g _shtab_netdevns_opts_with_value --allow --bundle --cdi-version --config --dir --force --format --from --index --jobs --netns --pid --preserve --socket --strict --to --wait

complete -c netdevns -e
complete -c netdevns -f

complete -c netdevns -n _shtab_netdevns_using -s h -l help -d 'show this help message and exit'
complete -c netdevns -n _shtab_netdevns_using -l version -d 'show program'"'"'s version number and exit'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a move -d 'move devices into a namespace'
complete -c netdevns -n '_shtab_netdevns_using move' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using move' -l to -xka "(_netdevns_namespaces)" -d 'the target namespace'
complete -c netdevns -n '_shtab_netdevns_using move' -l from -xka "(_netdevns_namespaces)" -d 'the source namespace (default: this one)'
complete -c netdevns -n '_shtab_netdevns_using move' -l force -d 'also a device that carries a default route'
complete -c netdevns -n '_shtab_netdevns_using move' -l preserve -xka "(_netdevns_kinds)" -d 'carry over besides addresses: sysctls, routes, neighbours'
complete -c netdevns -n '_shtab_netdevns_using move' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using move; and test $_shtab_netdevns_npos -ge 0' -ka "(_netdevns_devices)" -d 'a device, and its name in the target'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a apply -d 'move what a config.json asks for'
complete -c netdevns -n '_shtab_netdevns_using apply' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using apply' -l bundle -xka "(__fish_complete_directories)" -d 'an OCI bundle: its config.json'
complete -c netdevns -n '_shtab_netdevns_using apply' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'a config.json'
complete -c netdevns -n '_shtab_netdevns_using apply' -l pid -x -d 'a process of the container'
complete -c netdevns -n '_shtab_netdevns_using apply' -l netns -xka "(_netdevns_namespaces)" -d 'the container'"'"'s network namespace'
complete -c netdevns -n '_shtab_netdevns_using apply' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a check -d 'check whether a move would succeed'
complete -c netdevns -n '_shtab_netdevns_using check' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using check' -l to -xka "(_netdevns_namespaces)" -d 'the target namespace'
complete -c netdevns -n '_shtab_netdevns_using check' -l from -xka "(_netdevns_namespaces)" -d 'the source namespace (default: this one)'
complete -c netdevns -n '_shtab_netdevns_using check' -l force -d 'a default route is a note, not an error'
complete -c netdevns -n '_shtab_netdevns_using check' -l preserve -xka "(_netdevns_kinds)" -d 'the --preserve of the move: sysctls, routes, neighbours'
complete -c netdevns -n '_shtab_netdevns_using check' -l bundle -xka "(__fish_complete_directories)" -d 'an OCI bundle: its config.json'
complete -c netdevns -n '_shtab_netdevns_using check' -l config -xka "(__fish_complete_path (commandline -ct))" -d 'a config.json'
complete -c netdevns -n '_shtab_netdevns_using check' -l pid -x -d 'a process of the container'
complete -c netdevns -n '_shtab_netdevns_using check' -l netns -xka "(_netdevns_namespaces)" -d 'the container'"'"'s network namespace'
complete -c netdevns -n '_shtab_netdevns_using check' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using check; and test $_shtab_netdevns_npos -ge 0' -ka "(_netdevns_devices)" -d 'a device, and its name in the target'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a show -d 'show devices, and what a move of each would lose'
complete -c netdevns -n '_shtab_netdevns_using show' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using show' -l netns -xka "(_netdevns_namespaces)" -d 'the devices'"'"' namespace (default: this one)'
complete -c netdevns -n '_shtab_netdevns_using show' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using show; and test $_shtab_netdevns_npos -ge 0' -ka "(_netdevns_devices)" -d 'a device (default: all)'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a doctor -d 'find out why a container has no device'
complete -c netdevns -n '_shtab_netdevns_using doctor' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using doctor' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a hook -d 'the OCI hook: state JSON on stdin'
complete -c netdevns -n '_shtab_netdevns_using hook' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using hook' -l allow -x -d 'host names that annotations may ask for'
complete -c netdevns -n '_shtab_netdevns_using hook; and test $_shtab_netdevns_npos -eq 0' -ka "createRuntime poststop" -d 'the hook'"'"'s stage'
complete -c netdevns -n '_shtab_netdevns_using hook; and test $_shtab_netdevns_npos -ge 1' -ka "(_netdevns_devices)" -d 'devices besides those of config.json'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a recover -d 'undo the moves whose processes were killed'
complete -c netdevns -n '_shtab_netdevns_using recover' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using recover' -l list -d 'show the records and those set aside; change nothing'
complete -c netdevns -n '_shtab_netdevns_using recover' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a return -d 'restore devices returned by ended containers'
complete -c netdevns -n '_shtab_netdevns_using return' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using return' -l wait -x -d 'how long to wait for devices to come back (for another process that restores one: at least 5)'
complete -c netdevns -n '_shtab_netdevns_using return' -l arrived -d 'only physical devices that are back already'
complete -c netdevns -n '_shtab_netdevns_using return' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a prepare -d 'make a namespace that has its devices'
complete -c netdevns -n '_shtab_netdevns_using prepare' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using prepare' -l undo -d 'restore the devices, and remove the namespace'
complete -c netdevns -n '_shtab_netdevns_using prepare' -l preserve -xka "(_netdevns_kinds)" -d 'carry over besides addresses: sysctls, routes, neighbours'
complete -c netdevns -n '_shtab_netdevns_using prepare' -l force -d 'also devices with a default route; --undo: also a namespace in use'
complete -c netdevns -n '_shtab_netdevns_using prepare' -l json -d 'one JSON document on stdout, also on failure'
complete -c netdevns -n '_shtab_netdevns_using prepare; and test $_shtab_netdevns_npos -ge 1' -ka "(_netdevns_devices)" -d 'a device, and its name in the namespace'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a features -d 'print the runtime-spec'"'"'s features structure'
complete -c netdevns -n '_shtab_netdevns_using features' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a conformance -d 'test what this kernel does'
complete -c netdevns -n '_shtab_netdevns_using conformance' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using conformance' -l list -d 'list the probes, and run none'
complete -c netdevns -n '_shtab_netdevns_using conformance' -l format -xka "table json ktap" -d 'the output'"'"'s format (default: table)'
complete -c netdevns -n '_shtab_netdevns_using conformance' -l json -d 'the same as --format json'
complete -c netdevns -n '_shtab_netdevns_using conformance' -l jobs -x -d 'probes at a time (default: one a processor)'
complete -c netdevns -n '_shtab_netdevns_using conformance; and test $_shtab_netdevns_npos -ge 0' -ka "(_netdevns_probes)" -d 'an id, a glob or a class (default: all probes)'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a cdi -d 'make a CDI file: --device vendor.com/nic=eth1'
complete -c netdevns -n '_shtab_netdevns_using cdi' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using cdi' -l cdi-version -x -d '0.3.0, 0.4.0, 0.5.0; 1.1.0: without hooks'
complete -c netdevns -n '_shtab_netdevns_using cdi' -l install -d 'write it'
complete -c netdevns -n '_shtab_netdevns_using cdi' -l uninstall -d 'remove it'
complete -c netdevns -n '_shtab_netdevns_using cdi' -l dir -xka "(__fish_complete_directories)" -d 'another existing folder (default: /etc/cdi)'
complete -c netdevns -n '_shtab_netdevns_using cdi' -l python -d 'use `netdevns hook` even if netdevns-hook is installed'
complete -c netdevns -n '_shtab_netdevns_using cdi; and test $_shtab_netdevns_npos -ge 1' -ka "(_netdevns_devices)" -d 'a device, and its name in the container'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a hooks-dir -d 'make the hooks.d files: devices by annotation'
complete -c netdevns -n '_shtab_netdevns_using hooks-dir' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using hooks-dir' -l allow -x -d 'host names that annotations may ask for; can be repeated'
complete -c netdevns -n '_shtab_netdevns_using hooks-dir' -l install -d 'write it'
complete -c netdevns -n '_shtab_netdevns_using hooks-dir' -l uninstall -d 'remove it'
complete -c netdevns -n '_shtab_netdevns_using hooks-dir' -l dir -xka "(__fish_complete_directories)" -d 'another existing folder (default: /usr/share/containers/oci/hooks.d)'
complete -c netdevns -n '_shtab_netdevns_using hooks-dir' -l python -d 'use `netdevns hook` even if netdevns-hook is installed'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a units -d 'make systemd units: restore devices, prepare at boot'
complete -c netdevns -n '_shtab_netdevns_using units' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using units' -l install -d 'write it'
complete -c netdevns -n '_shtab_netdevns_using units' -l uninstall -d 'remove it'
complete -c netdevns -n '_shtab_netdevns_using units' -l dir -xka "(__fish_complete_directories)" -d 'an existing folder instead of /etc, such as /run or /usr/lib'
complete -c netdevns -n '_shtab_netdevns_using units; and test $_shtab_netdevns_npos -ge 1' -ka "(_netdevns_devices)" -d 'a device, and its name in the namespace'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a netavark -d 'podman networks: the netavark plugin'
complete -c netdevns -n '_shtab_netdevns_using netavark' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using netavark' -l install -d 'write it'
complete -c netdevns -n '_shtab_netdevns_using netavark' -l uninstall -d 'remove it'
complete -c netdevns -n '_shtab_netdevns_using netavark' -l dir -xka "(__fish_complete_directories)" -d 'another existing folder, which containers.conf then has to name'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a nri -d 'the NRI plugin: devices for pods'
complete -c netdevns -n '_shtab_netdevns_using nri' -s h -l help -d 'show this help message and exit'
complete -c netdevns -n '_shtab_netdevns_using nri' -l allow -x -d 'host names that pods may ask for, of one Kubernetes namespace or of all; can be repeated'
complete -c netdevns -n '_shtab_netdevns_using nri' -l force -x -d 'those that may carry a default route'
complete -c netdevns -n '_shtab_netdevns_using nri' -l socket -x -d 'the runtime'"'"'s socket (default: /var/run/nri/nri.sock)'
complete -c netdevns -n '_shtab_netdevns_using nri' -l index -x -d 'the order of plugins: two digits (default: 90)'
complete -c netdevns -n '_shtab_netdevns_using nri' -l strict -xka "containerd cri-o" -d 'make the file for this runtime; start nothing'
complete -c netdevns -n '_shtab_netdevns_using nri' -l hook -d 'the hook of that file: state JSON on stdin'
complete -c netdevns -n '_shtab_netdevns_using nri' -l install -d 'write it'
complete -c netdevns -n '_shtab_netdevns_using nri' -l uninstall -d 'remove it'
complete -c netdevns -n '_shtab_netdevns_using nri' -l dir -xka "(__fish_complete_directories)" -d 'another existing folder for the file (default: the runtime'"'"'s)'
complete -c netdevns -n '_shtab_netdevns_using; and test $_shtab_netdevns_npos -eq 0' -a demo -d 'show a move in a sandbox; touches no device of yours'
complete -c netdevns -n '_shtab_netdevns_using demo' -s h -l help -d 'show this help message and exit'
