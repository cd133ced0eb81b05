/**
 * The service of the agents that hold the bans.
 *
 * TBinaryProtocol over a buffered, unframed socket; port 9090 where nobody says otherwise. `mkey` is the secret
 * that owner and agent share. It must be the first field of a call larger than 64 KiB, as every Thrift writes it.
 * A call has at most 8 MiB, and lists of at most 100,000.
 *
 * Flags: 1 done, -1 already so, -2 not a valid target, -3 wrong key, -4 failed, -5 from an owner that another one
 * has followed (epoch too old).
 */
namespace rs ccfirewall
namespace py ccfirewall

/** The two calls that agents have had since 2016. Both answer JSON: {"flag":1,"result":"..."}. */
service CCfirewall {
  /**
   * Blocks one IP address (a prefix is flag -2), for the agent's longest time (`legacy_max_seconds`) from now on.
   * Where it is blocked already (-1) it stays so for at least that time.
   */
  string blockipbyiptables(1: string mkey, 2: string ip)
  /** Lets one IP address through again. */
  string unblockipbyiptables(1: string mkey, 2: string ip)
}

/** A ban as agents know it. */
struct Ban {
  /** An address or a prefix: 203.0.113.9, 2001:db8:1:2::/64. */
  1: string target
  /**
   * How long it still holds, in milliseconds from when the agent reads it: a span and not an end, so that clocks
   * needn't agree. Where it is over already (0 or less) nothing is blocked, and the flag is -1.
   */
  2: i64 left_ms
  /** Which ban it is, for people and logs; may be empty. */
  3: string id
}

/** What became of one target. */
struct Outcome {
  /** 1, -1 or -2. */
  1: i32 flag
  2: string result
}

/** What became of a call. */
struct Answer {
  /** 1, or -3, -4, -5 for the whole call. Then nothing was done; only with -4 some of it may be. */
  1: i32 flag
  /** Of a snapshot's last part: how many differences were repaired, as a number at the beginning. */
  2: string result
  /** One for each ban of the call, in order. */
  3: list<Outcome> blocked
  /** One for each target of the call, in order. */
  4: list<Outcome> unblocked
}

/** How an agent is. */
struct Status {
  1: i32 flag
  2: string result
  3: string version
  /** dry_run, nftables, ... */
  4: string enforcer
  /** Chosen anew at each start of the agent: where it differs, what was sent before may be gone. */
  5: string instance
  /** The newest epoch that the agent has seen. */
  6: i64 epoch
  /** How many bans it holds. */
  7: i64 held
  /** The agent's clock, in milliseconds since the Unix epoch. */
  8: i64 clock_ms
  /** What a person should know: for instance why it only runs dry. */
  9: list<string> warnings
  /** Whether it has got an owner's full state since its start, so that nobody is missing from what it holds. */
  10: bool ready
}

/** What an agent holds. */
struct Held {
  1: i32 flag
  2: string result
  /** As the kernel has it. */
  3: list<Ban> bans
}

/**
 * What our agents can beyond that. Calls that change something carry the owner's epoch; once a newer one was
 * seen, older ones are refused with flag -5.
 */
service CCfirewallAgent extends CCfirewall {
  /** Puts bans in force (or sets how long they still hold) and lifts others, in one transaction where possible. */
  Answer apply(1: string mkey, 2: i64 epoch, 3: list<Ban> block, 4: list<string> unblock)
  /**
   * A part of the full desired state. `first` begins a snapshot, `last` ends it: then what isn't in it is lifted,
   * and differences to what the kernel held are repaired (ends that differ by no more than a second are none).
   * All parts go over one connection. What was ordered by other calls between them is newer, and stays as it is.
   * `unblocked` stays empty.
   */
  Answer sync(1: string mkey, 2: i64 epoch, 3: list<Ban> bans, 4: bool first, 5: bool last)
  /**
   * What is held, as the kernel has it: at most `limit` of it, and never more than 100,000, from `offset` on, in
   * the order of targets.
   */
  Held held(1: string mkey, 2: i64 offset, 3: i32 limit)
  /** How the agent is. */
  Status status(1: string mkey)
}
