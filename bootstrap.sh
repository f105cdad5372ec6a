#!/bin/sh
# Makes a fresh clone work: installs missing system packages, makes .venv, installs labctl there, and hands over to it.
#
# Rules: nothing but apt packages and .venv is touched. What is in order already is not looked at twice: stamps in .venv hold what was
# installed for which pyproject.toml, and packages are counted again only after dpkg changed something. No error is hidden.
set -eu

root=$(cd -P "$(dirname "$0")" && pwd)
venv=$root/.venv

# What labctl itself runs, and what its tests, benchmarks and checks run besides.
run_packages='python3 python3-venv ca-certificates iproute2 qemu-system-x86 qemu-block-extra qemu-utils nftables tcpdump busybox-static e2fsprogs cpio zstd lz4 kmod iputils-ping'
dev_packages='tshark wireshark-common libiscsi-bin tgt libnfs-utils nfs-ganesha nfs-ganesha-vfs rpcbind fio mininet bridge-utils debootstrap graphviz iperf3 shellcheck'
run_tools='python3 ip qemu-system-x86_64 qemu-img nft tcpdump busybox mke2fs cpio zstd lz4 depmod ping'
dev_tools='tshark dumpcap iscsi-ls tgtd nfs-ls ganesha.nfsd rpcbind fio mn brctl debootstrap dot shellcheck'

usage() {
    cat <<'END'
usage: ./bootstrap.sh COMMAND [ARGUMENT...]

Installs what is missing (system packages by apt, as root or through sudo; the rest into .venv), then runs the command:

  up quickstart        bring up the example lab; any other labctl command works as well: `status`, `down`, `doctor` …
  test [ARGUMENT...]   run the tests; arguments go to pytest
  check                format, lint, types, layers, scripts and file sizes
  bench NAME           run a benchmark: `bench scale`

Afterwards .venv/bin/labctl can be called by itself.

Environment:
  LABCTL_PYTHON        the Python to make .venv with (3.11 or later); default: the system's
  LABCTL_TEST_WORKERS  how many tests run at a time; default: 2
END
}

say() {
    printf 'bootstrap: %s\n' "$*" >&2
}

fail() {
    printf 'bootstrap: error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

# --- system packages --------------------------------------------------------------------------------------------------------------

missing_packages() { # prints those of "$@" that are not installed
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
        awk -v wanted="$*" '$1 == "installed" { have[$2] = 1 }
            END { n = split(wanted, names, " "); for (i = 1; i <= n; i++) if (!(names[i] in have)) printf "%s ", names[i] }'
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

apt_install() { # SYSTEMD_OFFLINE: a daemon that a package brings is not started (tgt's would listen at every address)
    as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "$@" >"$log" 2>&1
}

install_packages() {
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        fail "system packages are missing, and you are neither root nor is there sudo: $*" \
            'ask an administrator to run:' \
            "  apt-get update && apt-get install --no-install-recommends $*"
    fi
    log=$venv/apt.log
    say "installing $# system packages: $*"
    # The package lists may be absent or stale: refresh them when the first try fails, and only then.
    apt_install "$@" && return
    say 'refreshing the package lists'
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || { cat "$log" >&2; fail 'apt-get update failed (above)'; }
    apt_install "$@" || { cat "$log" >&2; fail "apt-get could not install: $*"; }
}

require_tools() { # where there is no apt
    absent=''
    for tool in "$@"; do command -v "$tool" >/dev/null || absent="$absent $tool"; done
    [ -z "$absent" ] || fail 'this machine has no apt, so that packages cannot be installed for you' \
        "install what provides these commands, then try again:$absent" \
        'QEMU also needs its iscsi and nfs block drivers.'
}

ensure_packages() { # $1: run or dev; the rest: packages
    stamp=$venv/.packages-$1
    shift
    # shellcheck disable=SC3013 # -nt is in POSIX since 2024, and every sh has it
    [ "$stamp" -nt "$0" ] && ! [ /var/lib/dpkg/status -nt "$stamp" ] && return
    missing=$(missing_packages "$@")
    # shellcheck disable=SC2086 # a list of words
    [ -z "$missing" ] || install_packages $missing
    touch "$stamp" 2>/dev/null || : # a checkout of somebody else's: asked again next time
}

ensure_system() { # $1: run or dev
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        # shellcheck disable=SC2086
        if [ "$1" = dev ]; then require_tools $run_tools $dev_tools; else require_tools $run_tools; fi
        return
    fi
    # shellcheck disable=SC2086
    if [ "$1" = dev ]; then ensure_packages dev $run_packages $dev_packages; else ensure_packages run $run_packages; fi
}

# --- the Python environment -------------------------------------------------------------------------------------------------------

suits() { # can $1 make our environment?
    command -v "$1" >/dev/null && "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${LABCTL_PYTHON-}" ]; then
        suits "$LABCTL_PYTHON" || fail "LABCTL_PYTHON=$LABCTL_PYTHON is not a Python 3.11 or later with venv"
        python=$LABCTL_PYTHON
        return
    fi
    # The system's first: others may lie where only their owner can read, and labs also run as other users.
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        ! suits "$python" || return 0
    done
    return 1
}

choose_python() {
    find_python && return
    if command -v apt-cache >/dev/null && apt-cache show python3.11-venv >/dev/null 2>&1; then # Ubuntu 22.04's own is 3.10
        install_packages python3.11 python3.11-venv
        find_python && return
    fi
    fail 'labctl needs Python 3.11 or later with its venv module; none was found' \
        'Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv' \
        'Ubuntu 22.04: enable the universe component, then apt-get install python3.11 python3.11-venv' \
        'elsewhere: install one and name it in LABCTL_PYTHON'
}

venv_is_sound() { # it is whole (pip comes last), and its Python still exists in the version that the packages were installed for
    [ -x "$venv/bin/python3" ] && [ -x "$venv/bin/pip" ] && [ -d "$venv/lib/$(basename "$(readlink -f "$venv/bin/python3")")" ]
}

installed() { # $1: run or dev
    [ -f "$venv/.installed-$1" ] && [ "$(cat "$venv/.installed-$1")" = "$wanted" ]
}

ensure_venv() { # $1: run or dev
    wanted="$(cksum <"$root/pyproject.toml") $root"
    if venv_is_sound && installed "$1"; then return; fi
    if ! venv_is_sound; then
        choose_python
        say "making .venv with $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
        rm -rf "${venv:?}/bin" "${venv:?}/lib" "${venv:?}/lib64" "${venv:?}/include" "${venv:?}"/.installed-*
        "$python" -m venv "$venv"
    fi
    case $1 in dev) extras='[dev]' ;; *) extras='' ;; esac
    say "installing labctl$extras into .venv"
    "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check --editable "$root$extras"
    printf '%s\n' "$wanted" >"$venv/.installed-$1"
    # Installing more never takes away what labctl itself needs.
    printf '%s\n' "$wanted" >"$venv/.installed-run"
}

ensure() { # $1: run or dev
    if [ -d "$venv" ] && ! [ -w "$venv" ]; then # somebody else's checkout, for example in a shared folder: it must be ready
        wanted="$(cksum <"$root/pyproject.toml") $root"
        installed "$1" || fail "$venv is not yours to write, and is not up to date" "let its owner run: $root/bootstrap.sh --help && $root/bootstrap.sh $1"
        return
    fi
    mkdir -p "$venv"
    exec 9>"$venv/.lock" # two at once in one checkout take turns
    ! command -v flock >/dev/null || flock 9
    ensure_system "$1"
    ensure_venv "$1"
    exec 9>&-
}

# --- its own commands -------------------------------------------------------------------------------------------------------------

scripts() {
    printf '%s\n' bootstrap.sh .ci/run
    find tests labctl plugins emulators docs -name '*.sh'
}

long_files() { # prints the Python files of more than 500 lines
    find labctl plugins emulators topologies tests -name '*.py' -exec wc -l {} + | awk '$2 != "total" && $1 > 500 { print $2 ": " $1 " lines" }'
}

check_sizes() {
    long=$(long_files)
    [ -z "$long" ] && return
    printf '%s\n' 'files of more than 500 lines, which are to be divided:' "$long"
    return 1
}

check_scripts() {
    # shellcheck disable=SC2046
    shellcheck $(scripts)
}

step() { # $1: title; the rest: a command. All run, so that everything is reported in one go.
    title=$1
    shift
    if output=$("$@" 2>&1); then
        printf 'ok      %s\n' "$title"
    else
        printf 'FAILED  %s\n%s\n' "$title" "$output"
        failed="$failed $title"
    fi
}

check() {
    cd "$root"
    bin=$venv/bin
    failed=''
    step format "$bin/ruff" format --check .
    step lint "$bin/ruff" check .
    step types "$bin/mypy"
    step layers "$bin/lint-imports"
    step scripts check_scripts
    step sizes check_sizes
    [ -z "$failed" ] || fail "check:$failed"
}

run_tests() {
    cd "$root"
    exec "$venv/bin/pytest" -n "${LABCTL_TEST_WORKERS:-2}" --dist loadgroup "$@"
}

bench() {
    cd "$root"
    exec "$venv/bin/python3" tests/bench/run.py "$@"
}

case ${1-} in
    '' | -h | --help | help)
        usage
        ;;
    check)
        ensure dev
        check
        ;;
    test)
        ensure dev
        shift
        run_tests "$@"
        ;;
    bench)
        ensure dev
        shift
        bench "$@"
        ;;
    *)
        ensure run
        exec "$venv/bin/labctl" "$@"
        ;;
esac
