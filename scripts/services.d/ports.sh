# Which port a server has: free when it was chosen, then kept. Sourced by scripts/services.
# shellcheck shell=bash

# port USE: the port that this state has for it.
port() {
    awk -v use="$1" '$1 == use { print $2; exit }' "$state/ports" 2>/dev/null
}

# listens PORT: whether anybody does.
listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# assign_port USE: below the ports that the kernel gives to connections, so that none takes it while the server is down.
assign_port() {
    local candidate tries
    [[ -z $(port "$1") ]] || return 0
    for ((tries = 0; tries < 1000; tries++)); do
        candidate=$((20000 + RANDOM % 12000))
        if ! listens "$candidate" && ! grep -qsw "$candidate" "$state/ports" "$services"/*/ports; then
            printf '%s %d\n' "$1" "$candidate" >>"$state/ports"
            return
        fi
    done
    die 'there is no free port between 20000 and 31999'
}

# uses UNIT: what it needs ports for.
uses() {
    case $1 in
        kafka) echo kafka kafka.controller ;;
        zookeeper3.*) echo "$1" "$1.quorum" "$1.election" ;;
        *) echo "$1" ;;
    esac
}

# assign_ports UNIT: for an ensemble the ports of all, for each knows the others.
assign_ports() {
    local unit use
    for unit in $([[ $1 == zookeeper3.* ]] && units zookeeper3 || echo "$1"); do
        for use in $(uses "$unit"); do
            assign_port "$use"
        done
    done
}

# free_ports_of UNIT: fails where somebody else has taken one of them.
free_ports_of() {
    local use
    for use in $(uses "$1"); do
        if listens "$(port "$use")"; then
            say "$1: port $(port "$use") has been taken by another program; end it, or start anew with 'wipe'"
            return 1
        fi
    done
}
