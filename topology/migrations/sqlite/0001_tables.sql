-- Names and columns of the first six tables are those that operators' tools know; `id`, `rule` and `end_time` are
-- ours. Their times are text, `YYYY-MM-DD HH:MM:SS` in the local time of the site.

-- Frequency records: how often addresses came.
CREATE TABLE ip_frequency (
    id           INTEGER PRIMARY KEY,
    updatetime   TEXT NOT NULL,
    cnt          INTEGER NOT NULL,
    ip           TEXT NOT NULL,
    direct_nginx INTEGER,
    area         TEXT,
    country      TEXT,
    province     TEXT,
    starttime    TEXT NOT NULL,
    endtime      TEXT NOT NULL,
    during       INTEGER NOT NULL,
    alerts       INTEGER NOT NULL,
    block_reason TEXT,
    detail       TEXT,
    sdetail      TEXT,
    cuuid        TEXT NOT NULL,
    rule         TEXT
);
CREATE INDEX ip_frequency_updatetime ON ip_frequency (updatetime);
CREATE INDEX ip_frequency_ip ON ip_frequency (ip);
CREATE INDEX ip_frequency_alerts ON ip_frequency (alerts);
CREATE INDEX ip_frequency_cuuid ON ip_frequency (cuuid);

-- The same, past retention.
CREATE TABLE ip_frequency_del (
    id           INTEGER PRIMARY KEY,
    updatetime   TEXT NOT NULL,
    cnt          INTEGER NOT NULL,
    ip           TEXT NOT NULL,
    direct_nginx INTEGER,
    area         TEXT,
    country      TEXT,
    province     TEXT,
    starttime    TEXT NOT NULL,
    endtime      TEXT NOT NULL,
    during       INTEGER NOT NULL,
    detail       TEXT,
    sdetail      TEXT,
    cuuid        TEXT NOT NULL,
    rule         TEXT
);
CREATE INDEX ip_frequency_del_updatetime ON ip_frequency_del (updatetime);
CREATE INDEX ip_frequency_del_ip ON ip_frequency_del (ip);

-- What an agent answered when it was told to block: one row for each ban and agent. `block_time` is when it answered,
-- `end_time` when the ban ends.
CREATE TABLE block_log (
    id           INTEGER PRIMARY KEY,
    block_time   TEXT NOT NULL,
    block_second INTEGER NOT NULL,
    block_reason TEXT NOT NULL,
    server_ip    TEXT NOT NULL,
    block_ip     TEXT NOT NULL,
    flag         INTEGER NOT NULL,
    result       TEXT NOT NULL,
    cuuid        TEXT NOT NULL,
    rule         TEXT NOT NULL,
    end_time     TEXT NOT NULL,
    UNIQUE (cuuid, server_ip)
);
CREATE INDEX block_log_block_time ON block_log (block_time);
CREATE INDEX block_log_block_ip ON block_log (block_ip);
CREATE INDEX block_log_flag ON block_log (flag);

-- The same for lifting a ban. `block_time` is when the ban began.
CREATE TABLE unblock_log (
    id           INTEGER PRIMARY KEY,
    unblock_time TEXT NOT NULL,
    block_time   TEXT NOT NULL,
    block_second INTEGER NOT NULL,
    block_reason TEXT NOT NULL,
    server_ip    TEXT NOT NULL,
    block_ip     TEXT NOT NULL,
    flag         INTEGER NOT NULL,
    result       TEXT NOT NULL,
    cuuid        TEXT NOT NULL,
    rule         TEXT NOT NULL,
    UNIQUE (cuuid, server_ip)
);
CREATE INDEX unblock_log_unblock_time ON unblock_log (unblock_time);
CREATE INDEX unblock_log_block_ip ON unblock_log (block_ip);
CREATE INDEX unblock_log_flag ON unblock_log (flag);

-- Bans per agent, and per rule, in a reporting interval.
CREATE TABLE block_server_log (
    id         INTEGER PRIMARY KEY,
    updatetime TEXT NOT NULL,
    server_ip  TEXT NOT NULL,
    num        INTEGER NOT NULL
);
CREATE INDEX block_server_log_updatetime ON block_server_log (updatetime);

CREATE TABLE block_url_log (
    id         INTEGER PRIMARY KEY,
    updatetime TEXT NOT NULL,
    url        TEXT NOT NULL,
    num        INTEGER NOT NULL
);
CREATE INDEX block_url_log_updatetime ON block_url_log (updatetime);

-- Every ban that there ever was, as it is now. Times are milliseconds since 1970, UTC; `decided` is in seconds.
-- `first` and `last` are the lowest and highest address of the target: its family (4 or 6) and 16 bytes.
CREATE TABLE ban (
    id          TEXT PRIMARY KEY,
    target      TEXT NOT NULL,
    first       BLOB NOT NULL,
    last        BLOB NOT NULL,
    rule        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    decided     INTEGER NOT NULL,
    start       INTEGER NOT NULL,
    "end"       INTEGER NOT NULL,
    ended_at    INTEGER,
    ended_cause TEXT,
    held_by     TEXT,
    count       INTEGER NOT NULL,
    during      INTEGER NOT NULL,
    country     TEXT,
    province    TEXT,
    area        TEXT,
    note        TEXT
);
CREATE INDEX ban_first ON ban (first);
CREATE INDEX ban_start ON ban (start);
CREATE INDEX ban_in_force ON ban ("end") WHERE ended_at IS NULL;

-- Up to which entry each journal is in these tables.
CREATE TABLE journal_position (
    journal TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL
);
