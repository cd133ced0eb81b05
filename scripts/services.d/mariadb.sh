# MariaDB. Sourced by scripts/services.
# shellcheck shell=bash

# Debian keeps the server where not every user's PATH looks.
PATH=$PATH:/usr/sbin:/sbin

# A unix socket's path has room for 107 bytes, however deep the state is; relative to the data it's short.
mariadb_settings() {
    cat <<SETTINGS
[mariadbd]
datadir=$state/mariadb/data
tmpdir=$state/mariadb/temporary
socket=mariadb.sock
pid-file=mariadb.pid
init-file=$state/mariadb/start.sql
bind-address=127.0.0.1
port=$(port mariadb)
skip-name-resolve
skip-log-bin
character-set-server=utf8mb4
collation-server=utf8mb4_unicode_ci
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_flush_log_at_trx_commit=2
innodb_use_native_aio=OFF
SETTINGS
}

# Runs before anybody can connect, at each start.
mariadb_start_sql() {
    local host
    echo 'CREATE DATABASE IF NOT EXISTS ccfirewall CHARACTER SET utf8mb4;'
    for host in 127.0.0.1 localhost; do
        echo "CREATE USER IF NOT EXISTS 'ccfirewall'@'$host' IDENTIFIED BY 'ccfirewall';"
        echo "GRANT ALL ON *.* TO 'ccfirewall'@'$host' WITH GRANT OPTION;"
    done
}

# mariadb_empty FOLDER: the tables that every server has, of no use to anybody else.
mariadb_empty() {
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$1" --auth-root-authentication-method=normal \
        --skip-test-db --skip-name-resolve --innodb-log-file-size=16M --innodb-use-native-aio=OFF
}

# A copy of what `install` has made, or made here where that is of another version.
mariadb_data() {
    local folder=$state/mariadb
    rm -rf "$folder/data" "$folder/data.new"
    if [[ -r $lib/mariadb/version && $(<"$lib/mariadb/version") == $(mariadbd --version) ]]; then
        cp -r "$lib/mariadb/data" "$folder/data.new"
    else
        mariadb_empty "$folder/data.new"
    fi >"$folder/install.log" 2>&1 && mv "$folder/data.new" "$folder/data"
}

mariadb_start() {
    local folder=$state/mariadb
    mkdir -p "$folder/temporary"
    mariadb_settings >"$folder/my.cnf"
    mariadb_start_sql >"$folder/start.sql"
    if [[ ! -d $folder/data ]] && ! mariadb_data; then
        say "mariadb: its tables could not be made; see $folder/install.log"
        return 1
    fi
    spawn mariadb mariadbd --defaults-file="$folder/my.cnf" --user="$(id -un)"
}

mariadb_ready() {
    mariadb --no-defaults --connect-timeout=2 --protocol=tcp --host=127.0.0.1 --port="$(port mariadb)" \
        --user=ccfirewall --password=ccfirewall --execute='SELECT 1' ccfirewall >/dev/null 2>&1
}

mariadb_url() {
    printf 'mysql://ccfirewall:ccfirewall@127.0.0.1:%d/ccfirewall' "$(port mariadb)"
}
