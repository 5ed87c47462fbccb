//! Counters of the network database.

/// What the network database holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// RouterInfos known now.
    pub routers: u64,
    /// Floodfills among them that are fit to be asked.
    pub floodfills: u64,
    /// LeaseSets held now as a floodfill.
    pub lease_sets: u64,
    /// Searches under way.
    pub searches: u64,
    /// RouterInfos accepted, new or newer.
    pub routers_stored: u64,
    /// RouterInfos refused.
    pub routers_refused: u64,
    /// RouterInfos that went because the store was full.
    pub routers_evicted: u64,
    /// RouterInfos now known of routers that have been of use to us.
    pub routers_proven: u64,
    /// RouterInfos refused because the store was full of newcomers.
    pub routers_crowded: u64,
    /// RouterInfos that grew too old.
    pub routers_expired: u64,
    /// LeaseSets accepted, new or newer.
    pub lease_sets_stored: u64,
    /// LeaseSets refused.
    pub lease_sets_refused: u64,
    /// LeaseSets that went because a store was full.
    pub lease_sets_evicted: u64,
    /// Stored bytes whose signature did not hold.
    pub bad_signatures: u64,
    /// Stores under a key that is not that of the data.
    pub wrong_keys: u64,
    /// Stores not looked at: too many of one sender or in all, or of one that is not listened to.
    pub stores_throttled: u64,
    /// Times that a sender of wrong stores was no longer listened to.
    pub senders_muted: u64,
    /// Messages that could not be decoded.
    pub malformed: u64,
    /// Messages that came where they must not come, or that nobody asked for.
    pub unsolicited: u64,
    /// Searches begun.
    pub searches_started: u64,
    /// Searches that found what they sought.
    pub searches_found: u64,
    /// Searches that did not.
    pub searches_failed: u64,
    /// Searches not begun because of [`Limits::searches`](crate::Limits::searches).
    pub searches_refused: u64,
    /// Questions not asked because they failed a moment ago.
    pub negative_cache_hits: u64,
    /// Queries sent to floodfills.
    pub queries: u64,
    /// Queries without a timely answer.
    pub query_timeouts: u64,
    /// Lookups of others that we answered with what they sought.
    pub lookups_answered: u64,
    /// Lookups of others that we answered with names of other routers.
    pub lookups_referred: u64,
    /// Lookups of others that were too many.
    pub lookups_throttled: u64,
    /// Lookups of others that asked for something we do not do.
    pub lookups_refused: u64,
    /// Messages sent to flood a store.
    pub floods: u64,
    /// Stores that were not flooded because there were too many of that key.
    pub floods_throttled: u64,
    /// Stores of ours that were sent.
    pub publish_sent: u64,
    /// Stores of ours that were confirmed.
    pub publish_confirmed: u64,
    /// Stores of ours that another floodfill had a moment later.
    pub publish_verified: u64,
    /// Stores of ours that were not confirmed in time, or not found afterwards.
    pub publish_failed: u64,
    /// LeaseSets not published because of [`Limits::publications`](crate::Limits::publications).
    pub publish_refused: u64,
    /// Explorations begun.
    pub explorations: u64,
    /// Times that somebody else published a LeaseSet of a destination of ours.
    pub multihomed: u64,
}
