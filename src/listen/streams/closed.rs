//! Why connections of a stream listener are closed.

/// Why a connection was closed. The names are an interface: telemetry shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client ended it.
    End,
    /// It broke: the client reset it, or was not there any more.
    Broken,
    /// Nothing was sent for as long as a connection may be idle.
    Idle,
    /// A payload was longer than payloads may be.
    FrameTooLong,
    /// tallyd stopped.
    Stop,
}

impl Closed {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Closed; 5] =
        [Closed::End, Closed::Broken, Closed::Idle, Closed::FrameTooLong, Closed::Stop];

    /// The name by which telemetry counts it, for example `frame_too_long`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Closed::End => "end",
            Closed::Broken => "broken",
            Closed::Idle => "idle",
            Closed::FrameTooLong => "frame_too_long",
            Closed::Stop => "stop",
        }
    }
}
