# What building Diachron needs, sourced by ./demo and ./test: finds it, installs what a package gives, or says plainly
# what is missing.

say() { printf '%s\n' "$*" >&2; }

missing() {
    say "missing: $1"
    say "  $2"
    exit 2
}

# want_package PACKAGE... : installs Debian packages where root may; false when that is not possible.
want_package() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then return 1; fi
    say "installing $*"
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@") >&2 </dev/null
}

# need_package COMMAND PACKAGE... : the same, unless the command is there; there is no going on without it.
need_package() {
    local command=$1
    shift
    if command -v "$command" >/dev/null || want_package "$@"; then return; fi
    missing "\`$command\`" "install it: on Debian, as root, apt-get install $*"
}

# need_rust: cargo and a compiler that is new enough (`rust-version` in Cargo.toml).
need_rust() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null ||
        missing "Rust $wanted or newer" "install it with rustup, then try again"
    found=$(rustc --version 2>/dev/null | sed 's/^rustc \([0-9.]*\).*/\1/') || true
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        missing "Rust $wanted or newer" "here is ${found:-no rustc that works}: rustup update stable, then try again"
    fi
}

# need_component NAME COMMAND... : a part of the Rust toolchain.
need_component() {
    local component=$1
    shift
    if "$@" >/dev/null 2>&1; then return; fi
    if command -v rustup >/dev/null; then
        say "installing $component"
        if rustup component add "$component" >&2; then return; fi
    fi
    missing "$component" "install it: rustup component add $component"
}
