# What the servers need: packages, jars, and what makes their start quick. Sourced by scripts/services.
# shellcheck shell=bash

# has_jars KIND: those that its pom names now.
has_jars() {
    [[ -f $lib/$1/complete && $(<"$lib/$1/complete") == $(cksum <"scripts/poms/$1/pom.xml") ]]
}

# Names of what NAME... needs and isn't there.
missing() {
    local name command
    for name in "$@"; do
        case $(kind "$name") in
            kafka) set -- java kcat ;;
            zookeeper*) set -- java ;;
            mariadb) set -- mariadbd mariadb-install-db mariadb ;;
            redis) set -- redis-server ;;
        esac
        for command in "$@"; do
            command -v "$command" >/dev/null || printf '%s\n' "$command"
        done
        case $(kind "$name") in
            kafka) has_jars kafka || printf "Kafka's jars in %s\n" "$lib/kafka" ;;
            zookeeper*) has_jars zookeeper || printf "ZooKeeper's jars in %s\n" "$lib/zookeeper" ;;
        esac
    done
}

# require NAME...: ends where something is missing.
require() {
    local list
    list=$(missing "$@" | sort -u | paste -sd, | sed 's/,/, /g')
    [[ -n $list ]] || return 0
    say "missing: $list; 'scripts/services install' installs it"
    exit 3
}

fetch_jars() {
    has_jars "$1" && return
    say "fetching the jars of $1 from Maven Central"
    # Of two versions of a jar in one folder, Java would take either.
    rm -rf "${lib:?}/$1" "$lib/$1.jsa"
    mvn --batch-mode --quiet -Dstyle.color=never --file "scripts/poms/$1/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        "-DoutputDirectory=$lib/$1" || die "the jars of $1 could not be fetched; is Maven Central in reach?"
    cksum <"scripts/poms/$1/pom.xml" >"$lib/$1/complete"
}

# fits KIND: whether there is an archive of classes, for this Java and these jars.
fits() {
    java -Xshare:on "${java_flags[@]:0:3}" "-XX:SharedArchiveFile=$lib/$1.jsa" -cp "$lib/$1/*" -version >/dev/null 2>&1
}

# Runs each server once, so that later starts find its classes laid out: they take half the time.
share_classes() {
    local kind
    names=()
    for kind in kafka zookeeper; do
        fits "$kind" || names+=("$kind")
    done
    [[ ${#names[@]} -gt 0 ]] || return 0
    say "preparing quick starts: ${names[*]}"
    state=$(mktemp -d)
    (
        training=yes
        trap 'wipe' EXIT
        up >/dev/null && down >/dev/null
        for kind in "${names[@]}"; do
            [[ ! -f $state/$kind.jsa ]] || mv "$state/$kind.jsa" "$lib/$kind.jsa"
        done
    ) || say 'that failed; starts will only be slower'
}

# The tables of an empty MariaDB, made once and then copied.
make_empty_mariadb() {
    [[ -f $lib/mariadb/version && $(<"$lib/mariadb/version") == $(mariadbd --version) ]] && return
    say 'preparing quick starts: mariadb'
    rm -rf "$lib/mariadb"
    mkdir -p "$lib/mariadb"
    mariadb_empty "$lib/mariadb/data" >"$lib/mariadb/log" 2>&1 || die "that failed; see $lib/mariadb/log"
    # It holds nothing of anybody's, and other users may want to copy it.
    chmod -R a+rX "$lib/mariadb"
    mariadbd --version >"$lib/mariadb/version"
}

install() {
    need java default-jre-headless mvn maven mariadbd mariadb-server mariadb-install-db mariadb-server \
        mariadb mariadb-client redis-server redis-server kcat kcat
    mkdir -p "$lib" || die "can't write to $lib"
    exec 8>"$lib/lock"
    flock -w 900 8 || die "somebody else has been installing for a quarter of an hour ($lib/lock)"
    fetch_jars kafka
    fetch_jars zookeeper
    share_classes
    make_empty_mariadb
    exec 8>&-
    say 'all is installed'
}
