-- The tables in MySQL and MariaDB. `schema.rs` reads this file: what isn't there it makes, and to tables that are there
-- (those of 2016, say) it adds what they lack, so a line within a table is one column or one key, and the order is free.
--
-- Names and columns of the first six tables are those that operators' tools know; times are the local time of the site.
-- Every column may be left out of an INSERT, and those that are ours are invisible to `SELECT *` and to an INSERT
-- without a list of columns, so whoever wrote into these tables before still can.

-- Frequency records: how often addresses came.
CREATE TABLE ip_frequency (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    updatetime   DATETIME NULL,
    cnt          BIGINT NULL,
    ip           VARCHAR(64) NULL,
    direct_nginx TINYINT NULL,
    area         VARCHAR(255) NULL,
    country      VARCHAR(255) NULL,
    province     VARCHAR(255) NULL,
    starttime    DATETIME NULL,
    endtime      DATETIME NULL,
    during       BIGINT NULL,
    alerts       TINYINT NULL,
    block_reason VARCHAR(10) NULL,
    detail       MEDIUMTEXT NULL,
    sdetail      MEDIUMTEXT NULL,
    cuuid        VARCHAR(50) NULL,
    rule         VARCHAR(2000) NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    PRIMARY KEY (id),
    KEY ip_frequency_updatetime (updatetime),
    KEY ip_frequency_ip (ip),
    KEY ip_frequency_alerts (alerts),
    KEY ip_frequency_cuuid (cuuid)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The same, past retention.
CREATE TABLE ip_frequency_del (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    updatetime   DATETIME NULL,
    cnt          BIGINT NULL,
    ip           VARCHAR(64) NULL,
    direct_nginx TINYINT NULL,
    area         VARCHAR(255) NULL,
    country      VARCHAR(255) NULL,
    province     VARCHAR(255) NULL,
    starttime    DATETIME NULL,
    endtime      DATETIME NULL,
    during       BIGINT NULL,
    detail       MEDIUMTEXT NULL,
    sdetail      MEDIUMTEXT NULL,
    cuuid        VARCHAR(50) NULL,
    rule         VARCHAR(2000) NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    PRIMARY KEY (id),
    KEY ip_frequency_del_updatetime (updatetime),
    KEY ip_frequency_del_ip (ip)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- What an agent answered when it was told to block. `answer_id` is made of the ban and the agent, so that an answer is
-- one row however often it is told. `block_time` is when it answered, `end_time` when the ban ends.
CREATE TABLE block_log (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    block_time   DATETIME NULL,
    block_second BIGINT NULL,
    block_reason VARCHAR(10) NULL,
    server_ip    VARCHAR(155) NULL,
    block_ip     VARCHAR(64) NULL,
    flag         INT NULL,
    result       MEDIUMTEXT NULL,
    cuuid        VARCHAR(50) NULL,
    rule         VARCHAR(2000) NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    end_time     DATETIME NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    answer_id    BINARY(16) NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    PRIMARY KEY (id),
    UNIQUE KEY block_log_answer_id (answer_id),
    KEY block_log_block_time (block_time),
    KEY block_log_block_ip (block_ip),
    KEY block_log_flag (flag),
    KEY block_log_cuuid (cuuid)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The same for lifting a ban. `block_time` is when the ban began.
CREATE TABLE unblock_log (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    unblock_time DATETIME NULL,
    block_time   DATETIME NULL,
    block_second BIGINT NULL,
    block_reason VARCHAR(10) NULL,
    server_ip    VARCHAR(155) NULL,
    block_ip     VARCHAR(64) NULL,
    flag         INT NULL,
    result       MEDIUMTEXT NULL,
    cuuid        VARCHAR(50) NULL,
    rule         VARCHAR(2000) NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    answer_id    BINARY(16) NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    PRIMARY KEY (id),
    UNIQUE KEY unblock_log_answer_id (answer_id),
    KEY unblock_log_unblock_time (unblock_time),
    KEY unblock_log_block_ip (block_ip),
    KEY unblock_log_flag (flag),
    KEY unblock_log_cuuid (cuuid)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- Bans per agent, and per rule, in a reporting interval.
CREATE TABLE block_server_log (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    updatetime DATETIME NULL,
    server_ip  VARCHAR(155) NULL,
    num        BIGINT NULL,
    PRIMARY KEY (id),
    KEY block_server_log_updatetime (updatetime)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE block_url_log (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */,
    updatetime DATETIME NULL,
    url        VARCHAR(2000) NULL,
    num        BIGINT NULL,
    PRIMARY KEY (id),
    KEY block_url_log_updatetime (updatetime)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- Every ban that there ever was, as it is now. Times are milliseconds since 1970, UTC; `decided` is in seconds.
-- `first` and `last` are the lowest and highest address of the target: its family (4 or 6) and 16 bytes.
CREATE TABLE ban (
    id          VARCHAR(36) NOT NULL,
    target      VARCHAR(64) NOT NULL,
    first       VARBINARY(17) NOT NULL,
    last        VARBINARY(17) NOT NULL,
    rule        VARCHAR(2000) NOT NULL,
    reason      VARCHAR(10) NOT NULL,
    decided     BIGINT NOT NULL,
    start       BIGINT NOT NULL,
    `end`       BIGINT NOT NULL,
    ended_at    BIGINT NULL,
    ended_cause VARCHAR(10) NULL,
    held_by     VARCHAR(64) NULL,
    count       BIGINT NOT NULL,
    during      BIGINT NOT NULL,
    country     VARCHAR(255) NULL,
    province    VARCHAR(255) NULL,
    area        VARCHAR(255) NULL,
    note        MEDIUMTEXT NULL,
    PRIMARY KEY (id),
    KEY ban_first (first),
    KEY ban_start (start),
    KEY ban_in_force (ended_at, `end`)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- Up to which entry each journal is in these tables.
CREATE TABLE journal_position (
    journal VARCHAR(36) NOT NULL,
    seq     BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (journal)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- Who of several workers decides: one row. `journal` is the one that what is shared comes from; `connection` is the
-- server's number of the connection that writes.
CREATE TABLE shared_owner (
    one        TINYINT NOT NULL,
    epoch      BIGINT NULL,
    name       VARCHAR(255) NULL,
    since      DATETIME NULL,
    journal    VARCHAR(36) NULL,
    connection BIGINT UNSIGNED NULL,
    PRIMARY KEY (one)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

-- What the desired state of bans was, and what happened since, in order: JSON, the snapshot compressed by zstd.
CREATE TABLE shared_snapshot (
    part  INT UNSIGNED NOT NULL,
    bytes MEDIUMBLOB NOT NULL,
    PRIMARY KEY (part)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE shared_entry (
    id    BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    entry MEDIUMBLOB NOT NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4;
