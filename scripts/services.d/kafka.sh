# Kafka: one process that is broker and controller. Sourced by scripts/services.
# shellcheck shell=bash

# On a test machine starting quickly counts, and not running fast for days.
java_flags=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Xshare:auto)

# shared_classes KIND: the flag by which a Java program maps its classes in instead of loading them. An archive that no
# longer fits is ignored by Java. While installing (`training`) the archive is made, as the program ends.
shared_classes() {
    if [[ -n ${training:-} ]]; then
        printf -- '-XX:ArchiveClassesAtExit=%s' "$state/$1.jsa"
    else
        printf -- '-XX:SharedArchiveFile=%s' "$lib/$1.jsa"
    fi
}

# Sizes are those of one small broker. Short sessions, so that tests needn't wait; a broker's of 2 s is over by the time
# that it has started again, else it'd be refused as registered twice.
kafka_settings() {
    local here=127.0.0.1
    cat <<SETTINGS
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://$here:$(port kafka),CONTROLLER://$here:$(port kafka.controller)
advertised.listeners=PLAINTEXT://$here:$(port kafka),CONTROLLER://$here:$(port kafka.controller)
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=$here:$(port kafka.controller)
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=1000
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=2000
log.dirs=$state/kafka/data
auto.create.topics.enable=false
num.partitions=4
num.io.threads=4
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=4194304
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.segment.bytes=1048576
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.segment.bytes=1048576
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=1000
SETTINGS
}

kafka_java() {
    local memory=$1
    shift
    java "-Xmx$memory" "${java_flags[@]}" "-XX:SharedArchiveFile=$lib/kafka.jsa" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$lib/kafka/*" "$@"
}

kafka_start() {
    local folder=$state/kafka id
    kafka_settings >"$folder/server.properties"
    if [[ ! -f $folder/data/meta.properties ]]; then
        rm -rf "$folder/data"
        # 16 random bytes in base64, of its letters only those that stand in both kinds.
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab')
        if ! kafka_java 128m kafka.tools.StorageTool format --standalone --config "$folder/server.properties" \
            --cluster-id "${id%==}" >"$folder/format.log" 2>&1; then
            say "kafka: its storage could not be made; see $folder/format.log"
            return 1
        fi
    fi
    spawn kafka java -Xms128m -Xmx512m "${java_flags[@]}" "$(shared_classes kafka)" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
        -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
        -cp "$lib/kafka/*" kafka.Kafka "$folder/server.properties"
}

# That the port is open isn't enough: the broker must know of itself.
kafka_ready() {
    local answer
    listens "$(port kafka)" && answer=$(timeout 5 kcat -b "$(kafka_url)" -L -m 2 2>/dev/null) &&
        [[ $answer == *'broker 1 at'* ]]
}

kafka_url() {
    printf '127.0.0.1:%d' "$(port kafka)"
}

kafka_topics() {
    require kafka
    local url
    url=$(url kafka)
    kafka_java 128m org.apache.kafka.tools.TopicCommand --bootstrap-server "$url" "$@"
}
