# ZooKeeper: alone, or as one node of an ensemble of three. Sourced by scripts/services.
# shellcheck shell=bash

# A session may be as short as two ticks. What is written reaches the kernel at once, and the disk when it likes: that is
# enough to survive a kill.
zookeeper_settings() {
    cat <<SETTINGS
tickTime=500
minSessionTimeout=1000
maxSessionTimeout=60000
dataDir=$state/$1/data
clientPort=$(port "$1")
clientPortAddress=127.0.0.1
maxClientCnxns=0
forceSync=no
preAllocSize=1024
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr,stat,mntr,cons,dump,wchs
SETTINGS
    [[ $1 == zookeeper3.* ]] || return 0
    printf 'initLimit=20\nsyncLimit=10\n'
    local node
    for node in 1 2 3; do
        printf 'server.%d=127.0.0.1:%d:%d\n' $node "$(port "zookeeper3.$node.quorum")" "$(port "zookeeper3.$node.election")"
    done
}

zookeeper_start() {
    local folder=$state/$1
    mkdir -p "$folder/data"
    zookeeper_settings "$1" >"$folder/zoo.cfg"
    [[ $1 == zookeeper ]] || printf '%s\n' "${1#zookeeper3.}" >"$folder/data/myid"
    spawn "$1" java -Xmx128m "${java_flags[@]}" "$(shared_classes zookeeper)" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
        -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
        -cp "$lib/zookeeper/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$folder/zoo.cfg"
}

# zookeeper_mode UNIT: standalone, leader or follower; fails while it doesn't serve, when it still says 'imok' if asked.
zookeeper_mode() {
    local answer
    # shellcheck disable=SC2016 # it's for the inner bash
    answer=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf srvr >&3 && cat <&3' - "$(port "$1")" 2>/dev/null)
    [[ $answer =~ Mode:\ ([a-z]+) ]] && printf '%s\n' "${BASH_REMATCH[1]}"
}

zookeeper_ready() {
    zookeeper_mode "$1" >/dev/null
}

zookeeper_url() {
    printf '127.0.0.1:%d' "$(port "$1")"
}

zookeeper_leader() {
    local unit
    for unit in $(units zookeeper3); do
        if [[ -d $state/$unit && $(zookeeper_mode "$unit") == leader ]]; then
            printf '%s\n' "$unit"
            return
        fi
    done
    die 'nobody leads zookeeper3'
}

zookeeper_cli() {
    require zookeeper
    local name=zookeeper url
    [[ ! -d $state/zookeeper3.1 ]] || name=zookeeper3
    url=$(url "$name")
    java -Xmx128m "${java_flags[@]}" "-XX:SharedArchiveFile=$lib/zookeeper.jsa" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$lib/zookeeper/*" \
        org.apache.zookeeper.ZooKeeperMain -waitforconnection -timeout 15000 -server "$url" "$@"
}
