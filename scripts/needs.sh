# What building Diachron needs, sourced by ./demo and ./test: finds it, installs what a package gives, or says plainly
# what is missing.

say() { printf '%s\n' "$*" >&2; }

missing() {
    say "missing: $1"
    say "  $2"
    exit 2
}

# need_package COMMAND PACKAGE... : installs Debian packages when the command is not there and root may.
need_package() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then return; fi
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "installing $* for \`$command\`"
        if (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@") >&2 </dev/null; then
            return
        fi
    fi
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
        missing "Rust $wanted or newer" "install it from https://rustup.rs, then try again"
    found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        missing "Rust $wanted or newer" "here is $found: rustup update stable, then try again"
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
