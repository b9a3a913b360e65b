#!/bin/sh
# Checks the lab of Vagrant machines as far as it goes without starting any: shellcheck and sh -n on its scripts, `vagrant
# validate` for every mixture of systems, and the provider blocks by evaluating them. The one command that runs section 5
# over the machines is played by tests/lab_section5.rs against real sshds. Run by tests/all.sh.
set -eu
cd "$(dirname "$0")/.."
sh tests/prerequisites.sh vagrant shellcheck
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export VAGRANT_HOME="$state/home" VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_DOTFILE_PATH="$state/dot"

shellcheck vagrant/*.sh
for script in vagrant/*.sh; do
    sh -n "$script"
done

cd vagrant
valid() { # valid VARIABLE=VALUE...
    env "$@" vagrant validate --ignore-provider >"$state/said" 2>&1 || {
        echo "with $*:" >&2
        cat "$state/said" >&2
        exit 1
    }
}
invalid() { # invalid WORDS VARIABLE=VALUE...
    words=$1
    shift
    if env "$@" vagrant validate --ignore-provider >"$state/said" 2>&1 || ! grep -q "$words" "$state/said"; then
        echo "with $* there should be an error with the words: $words" >&2
        cat "$state/said" >&2
        exit 1
    fi
}
valid MGA_SYSTEM=freebsd
valid MGA_SYSTEM=linux MGA_AR1=freebsd MGA_AR2=kame MGA_AR2_BOX=somebody/kame
invalid "one of linux" MGA_SYSTEM=plan9
invalid "MGA_AR1_BOX" MGA_AR1=umip

# validate does not look into the provider blocks; here they are run, and what they ask for is compared with Figure 11.
ruby ../tests/vagrant_providers.rb Vagrantfile
