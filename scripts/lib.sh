# Shared by the scripts: finds what they need, and installs what is missing. Sourced, not run.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $*"
    exit 1
}

# usage TEXT "$@": prints TEXT and ends where the first argument asks for help.
usage() {
    local text=$1
    case ${2-} in
        -h | --help)
            printf '%s\n' "$text"
            exit 0
            ;;
    esac
}

as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root (or sudo) for: $*"
    fi
}

# install_packages PACKAGE...: no service is started by it. Debian starts what it installs unless this file says no; one
# that is already there is left as it is.
install_packages() {
    command -v apt-get >/dev/null || die "please install: $*"
    say "installing with apt-get: $*"
    as_root apt-get update -qq
    # shellcheck disable=SC2016 # it's for the inner shell
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c '
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap '\''rm -f "$policy"'\'' EXIT
            trap "exit 1" HUP INT TERM
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod +x "$policy"
        fi
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null' sh "$@"
}

# need COMMAND PACKAGE [COMMAND PACKAGE...]
need() {
    local missing=()
    while [[ $# -gt 0 ]]; do
        # Not every user's PATH has where Debian puts nft and nginx.
        PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

# need_python PACKAGE==VERSION...: PyPI's packages for the python3 that tests call, in a virtual environment of its own.
need_python() {
    local venv package missing=()
    venv=$(target_folder)/python
    for package in "$@"; do
        "$venv/bin/python3" -c 'import importlib.metadata as m, sys; p, v = sys.argv[1].split("=="); m.version(p) == v or sys.exit(1)' \
            "$package" 2>/dev/null || missing+=("$package")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        say "installing with pip into a virtual environment: ${missing[*]}"
        if ! "$venv/bin/pip" --version >/dev/null 2>&1; then
            python3 -m venv --clear "$venv" 2>/dev/null || {
                install_packages python3-venv
                python3 -m venv --clear "$venv"
            }
        fi
        "$venv/bin/pip" install --quiet --disable-pip-version-check "${missing[@]}"
    fi
    PATH=$(cd "$venv/bin" && pwd):$PATH
    export PATH
}

# Rust itself (which we don't install), and what it links with: zstd and librdkafka are written in C, and the latter
# speaks TLS by OpenSSL.
need_rust() {
    command -v cargo >/dev/null || die "Rust is missing; https://rustup.rs installs it"
    if ! command -v cc >/dev/null || ! command -v c++ >/dev/null || ! command -v make >/dev/null; then
        install_packages build-essential
    fi
    if ! pkg-config --exists openssl 2>/dev/null; then
        install_packages pkg-config libssl-dev
    fi
}

# need_component COMMAND COMPONENT: a part of the Rust toolchain.
need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || die "cargo $1 is missing; install the $2 component of your Rust"
    say "installing with rustup: $2"
    rustup component add "$2"
}

# The folder that cargo builds into.
target_folder() {
    printf '%s' "${CARGO_TARGET_DIR:-target}"
}
