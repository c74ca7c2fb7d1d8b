//! Every field a config may have, with the text that `check --effective` shows beside it.

/// The fields of one kind of group.
pub(super) struct Group {
    /// How messages call it.
    pub what: &'static str,
    /// A group of this kind, as one would write it.
    pub example: &'static str,
    fields: &'static [Field],
}

/// A field's name and what it means.
pub(super) struct Field {
    pub name: &'static str,
    pub doc: &'static str,
}

impl Group {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }
}

const fn field(name: &'static str, doc: &'static str) -> Field {
    Field { name, doc }
}

pub(super) static CONFIG: Group = Group {
    what: "the config",
    example: "(subsystems: { \"kv\": (plugin: \"mycelia_kv\") })",
    fields: &[
        field("workers", "Threads that run handlers. Default: all cores."),
        field("control", "Status and the command line."),
        field(
            "data",
            "A subsystem's relative files lie in DATA/NAME. Default: $STATE_DIRECTORY, else mycelia-data.",
        ),
        field("pool", "Memory for the bodies of all messages."),
        field("ask_deadline", "How long a request may take that names no deadline."),
        field(
            "drain_timeout",
            "How long a stop waits for queues to empty; the rest become dead letters.",
        ),
        field(
            "spin",
            "How long an idle worker looks for work before it sleeps; \"0s\" saves the most power.",
        ),
        field("dead_letters", "Messages that nobody could handle; the newest are kept."),
        field("subsystems", "What runs: name, then plugin, limits and permissions."),
    ],
};

pub(super) static CONTROL: Group = Group {
    what: "`control`",
    example: "(listen: \"127.0.0.1:7070\")",
    fields: &[
        field("listen", "Address and port; anything but loopback is open to the network."),
        field("grants", "Scopes of the operator, such as \"kv:read\"; \"*\" is all."),
    ],
};

pub(super) static DEAD_LETTERS: Group = Group {
    what: "`dead_letters`",
    example: "(count: 10000, bytes: \"64MiB\")",
    fields: &[
        field("count", "Most that are kept."),
        field("bytes", "Most memory that they take."),
        field("file", "A file in `data` in which they outlive the host, or None."),
    ],
};

pub(super) static SUBSYSTEM: Group = Group {
    what: "a subsystem",
    example: "(plugin: \"mycelia_kv\")",
    fields: &[
        field("plugin", "Name in the plugin path, or path of a library."),
        field("queue", "What waits, and what happens when it is full."),
        field("batch", "Most messages handed over in one call."),
        field("weight", "Share of the workers, against other subsystems."),
        field("required", "Whether the host refuses to start without it."),
        field("handler_limit", "Longest time for one message or lifecycle call."),
        field("max_asks", "Most requests of its own that may be open at once."),
        field(
            "restart",
            "What follows a panic; more than `max` within `within` stops the subsystem.",
        ),
        field(
            "snapshot",
            "How often its state is kept for a restart, if it handled anything; or None.",
        ),
        field("on_restart", "Snapshot continues from the kept state, Fresh from nothing."),
        field(
            "on_reload",
            "Keep hands the state on, and refuses a build that does not take it; RefuseIfLost refuses also one that keeps none; Reset starts fresh.",
        ),
        field(
            "probation",
            "How long the old build stands by after a reload, and after how many panics it comes back.",
        ),
        field("grants", "Scopes of others that it may use, such as \"kv:read\"."),
        field("pool_quota", "Its share of `pool`."),
        field(
            "memory",
            "Most heap of the plugin itself, or None; beyond it the subsystem is restarted.",
        ),
        field("config", "The plugin's own."),
    ],
};

pub(super) static QUEUE: Group = Group {
    what: "`queue`",
    example: "(capacity: 1024, policy: Reject)",
    fields: &[
        field("capacity", "Most messages that wait."),
        field("policy", "When full: DropOldest, DropNewest, Reject, or Block(\"100ms\")."),
    ],
};

pub(super) static RESTART: Group = Group {
    what: "`restart`",
    example: "(max: 5, within: \"30s\", backoff: \"100ms\")",
    fields: &[
        field("max", "Most restarts within `within`."),
        field("within", "The time in which they are counted."),
        field(
            "backoff",
            "Wait before the first restart; doubles up to 32 times, never above `within`.",
        ),
    ],
};

pub(super) static PROBATION: Group = Group {
    what: "`probation`",
    example: "(messages: 1000, for: \"10s\", panics: 3)",
    fields: &[
        field("messages", "Over after so many messages."),
        field("for", "Or after this time, whichever is first."),
        field("panics", "More panics than this bring the old build back."),
    ],
};

/// Every kind of group, for tests that go through all fields.
#[cfg(test)]
pub(super) static ALL: [&Group; 7] =
    [&CONFIG, &CONTROL, &DEAD_LETTERS, &SUBSYSTEM, &QUEUE, &RESTART, &PROBATION];
