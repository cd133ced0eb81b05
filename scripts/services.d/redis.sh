# Redis. Sourced by scripts/services.
# shellcheck shell=bash

# Each write is handed to the kernel before it's answered, and no child is forked that could be left behind.
redis_start() {
    mkdir -p "$state/redis/data"
    spawn redis redis-server --bind 127.0.0.1 --port "$(port redis)" --dir "$state/redis/data" --daemonize no \
        --appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0 --save ''
}

redis_ready() {
    # shellcheck disable=SC2016 # it's for the inner bash
    [[ $(timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "PING\r\n" >&3 && read -r answer <&3 &&
        echo "$answer"' - "$(port redis)" 2>/dev/null) == +PONG* ]]
}

redis_url() {
    printf 'redis://127.0.0.1:%d/0' "$(port redis)"
}
