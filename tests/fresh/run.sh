#!/bin/sh
# Proves the promise of the README: a fresh clone works on a machine where none of our packages was ever installed.
#
#   tests/fresh/run.sh [COMMAND...]      each COMMAND is a line of arguments for bootstrap.sh; default: see `set --` below
#
# Makes a minimal Debian by debootstrap, clones this checkout's HEAD into it, and runs ./bootstrap.sh there as root. The new root
# has its own mount and process namespaces, so that whatever the commands leave ends with them; it shares the kernel and the network.
# Not a part of .ci/run, because it downloads several hundred megabytes. Needs root and debootstrap.
#
# Where packages come from is the machine's own business: mirrors are read from apt, pip's configuration and the CA certificates are
# copied in when this runs, and folders that pip's configuration names are bound in read-only.
#
# Environment:
#   FRESH_SUITE   Debian's suite; default: bookworm
#   FRESH_FOLDER  where the base system is kept between runs; default: /var/tmp/labctl-fresh
set -eu

suite=${FRESH_SUITE:-bookworm}
folder=${FRESH_FOLDER:-/var/tmp/labctl-fresh}
checkout=$(cd -P "$(dirname "$0")/../.." && pwd)
base=$folder/$suite.tar

[ $# -gt 0 ] || set -- --help 'up quickstart' 'down quickstart' test

say() {
    printf 'fresh: %s\n' "$*" >&2
}

[ "$(id -u)" = 0 ] || { say 'needs root, for debootstrap and mounts'; exit 1; }
command -v debootstrap >/dev/null || { say 'needs debootstrap: apt-get install debootstrap'; exit 1; }

sources() { # apt's own knowledge of where Debian's packages of this suite come from
    # shellcheck disable=SC2016 # apt's placeholders, not the shell's
    apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$suite" '$1 == "Debian" && index($2, suite) == 1 { print "deb", $3, $4, $5 }' | sort -u
}

pip_files() {
    for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
        [ ! -f "$file" ] || printf '%s\n' "$file"
    done
}

copy_pip_file() { # $1: the machine's, $2: the new root's; the certificates lie elsewhere there
    [ ! -f "$1" ] || { mkdir -p "$(dirname "$new$2")" && sed 's,^cert *=.*,cert = /etc/host-ca.crt,' "$1" >"$new$2"; }
}

pip_folders() { # local folders of packages that pip is configured to use
    { pip_files | xargs -r cat; env | grep '^PIP_' || :; } | grep -oE '(file://)?/[^ ]+' | sed 's,^file://,,' |
        sed 's,/simple/*$,,' | sort -u | # an index names its files relative to itself, and they lie beside it
        while read -r path; do [ ! -d "$path" ] || printf '%s\n' "$path"; done
}

make_base() {
    mirror=$(sources | awk -v suite="$suite" '$3 == suite { print $2; exit }')
    [ -n "$mirror" ] || { say "apt knows no Debian $suite: is this a Debian, and was apt-get update run?"; exit 1; }
    say "making a minimal $suite (kept in $folder)"
    mkdir -p "$folder"
    building=$(mktemp -d "$folder/base.XXXXXX")
    debootstrap --variant=minbase "$suite" "$building" "$mirror" >"$folder/debootstrap.log" 2>&1 || { tail "$folder/debootstrap.log" >&2; exit 1; }
    tar -C "$building" -cf "$base.new" .
    mv "$base.new" "$base"
    rm -rf --one-file-system "$building"
}

furnish() { # what a machine of its own would have been given when it was set up
    sources >"$new/etc/apt/sources.list"
    cp /etc/resolv.conf /etc/hosts "$new/etc/"
    cp /etc/ssl/certs/ca-certificates.crt "$new/etc/host-ca.crt"
    copy_pip_file /etc/pip.conf /etc/pip.conf
    copy_pip_file "$HOME/.config/pip/pip.conf" /root/.config/pip/pip.conf
    copy_pip_file "$HOME/.pip/pip.conf" /root/.pip/pip.conf
    for path in $(pip_folders); do mkdir -p "$new$path"; done
    git clone -q "$checkout" "$new/srv/labctl"
}

# Runs in the new namespaces: turns the new root into the root (a chroot could not make user namespaces), and runs the commands.
# shellcheck disable=SC2016 # expanded by the inner shell
inside='
new=$1; folders=$2; shift 2
mount --bind "$new" "$new"
mount --rbind /sys "$new/sys"
mount --rbind /dev "$new/dev"
mount -t proc proc "$new/proc"
for path in $folders; do mount --bind -o ro "$path" "$new$path"; done
cd "$new"
pivot_root . mnt
umount -l /mnt
cd /srv/labctl
for line in "$@"; do
    echo "fresh: ./bootstrap.sh $line" >&2
    before=$(date +%s)
    ./bootstrap.sh $line </dev/null || { echo "fresh: FAILED: ./bootstrap.sh $line" >&2; exit 1; }
    echo "fresh: ok after $(($(date +%s) - before)) s" >&2
done
'

[ -f "$base" ] || make_base
new=$(mktemp -d "$folder/root.XXXXXX")
trap 'rm -rf --one-file-system "$new"' EXIT
tar -C "$new" -xf "$base"
chmod 755 "$new"
furnish
[ -z "$(git -C "$checkout" status --porcelain)" ] || say 'note: uncommitted changes are not in the clone'
env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-60}" ${https_proxy:+https_proxy="$https_proxy"} ${http_proxy:+http_proxy="$http_proxy"} \
    unshare --mount --pid --fork --kill-child sh -euc "$inside" inside "$new" "$(pip_folders | tr '\n' ' ')" "$@"
say 'everything passed'
