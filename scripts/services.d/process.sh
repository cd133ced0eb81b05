# Processes of ours: started on their own, found again by a later run, and never mixed up with somebody else's.
# Sourced by scripts/services.
# shellcheck shell=bash

ready_seconds=${CCFIREWALL_SERVICES_SECONDS:-90}
stop_seconds=20
pid=

# fields_of PID: of /proc/PID/stat what follows the program's name, into the array `fields`: the state first, the second
# of the start as number 19.
fields_of() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) && read -ra fields <<<"${stat##*) }"
}

# mark_process PID FILE: remembers the process by its id and its start, for ids come again.
mark_process() {
    local fields
    fields_of "$1" && printf '%d %s\n' "$1" "${fields[19]}" >"$2"
}

# runs FILE: whether the process that was marked there lives; its id is then in `pid`. One that only waits for its parent
# to look after it doesn't.
runs() {
    local fields started
    pid=
    read -r pid started 2>/dev/null <"$1" && fields_of "$pid" &&
        [[ ${fields[19]} == "$started" && ${fields[0]} != [ZX] ]]
}

# paused: whether `pid` is.
paused() {
    local fields
    fields_of "$pid" && [[ ${fields[0]} == T ]]
}

# memory: what `pid` has resident, in MiB.
memory() {
    awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status" 2>/dev/null || echo 0
}

# spawn UNIT COMMAND...: in a session of its own, so that no ^C reaches it, and with nothing of the caller's open: neither
# its output, for which a caller would wait for ever, nor its locks.
spawn() {
    local unit=$1 descriptor
    shift
    (
        for descriptor in /proc/self/fd/*; do
            descriptor=${descriptor##*/}
            [[ $descriptor -le 2 || $descriptor -eq 255 ]] || eval "exec $descriptor>&-"
        done
        exec setsid "$@"
    ) </dev/null >>"$state/$unit/log" 2>&1 &
    mark_process $! "$state/$unit/process" || true
}

# await_end UNIT: after a signal that nobody survives.
await_end() {
    while runs "$state/$1/process"; do
        sleep 0.02
    done
}

# stop UNIT: in good order, else by force. Fails where it wasn't running.
stop() {
    local until=$((SECONDS + stop_seconds))
    runs "$state/$1/process" || return
    kill -TERM "$pid"
    kill -CONT "$pid" # one that is paused would not hear of it
    while runs "$state/$1/process"; do
        if ((SECONDS > until)); then
            say "$1 didn't stop within $stop_seconds s and is killed"
            kill -KILL "$pid"
            until=$((SECONDS + stop_seconds))
        fi
        sleep 0.05
    done
}
