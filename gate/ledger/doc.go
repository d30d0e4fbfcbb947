// Package ledger is an append-only log of what was decided, done and found, that
// nobody can rewrite unseen.
//
// Entries are the leaves of a Merkle tree (RFC 6962, with golang.org/x/mod's
// tlog). Each transaction of the disk ends in a signed checkpoint
// (https://c2sp.org/tlog-checkpoint, Ed25519, with golang.org/x/mod's note), and the
// tree is served as tiles (https://c2sp.org/tlog-tiles), so that other people's tools
// can verify it.
//
// Writing happens in the caller's transaction, together with whatever the entry is
// about:
//
//	log, err := ledger.New(ledger.Config{Key: key})
//	err = store.Update(ctx, func(tx *store.Tx) error {
//		checkpoint, err = log.Append(tx, ledger.Entry{Kind: ledger.KindDecision, …})
//		return err
//	})
//	log.Observe(checkpoint) // committed: from here on less than this is a loss
//	line := checkpoint.Witness().String()
//
// Encoding takes longer than appending, and everybody waits while the function runs:
// where many append, call [Log.Prepare] before Update and [Log.AppendBatch] in it.
//
// # When it is signed
//
// A store may take many callers into one transaction of the disk. Each append sees
// the tree that the one before it left, and the store has the last head signed once,
// just before it commits ([Sealer]). So what Append returns is not signed itself: it
// is the tree's size and root right after its own entries, a state that the signed
// tree went through and a witness as good as any. A caller whose part is rolled back
// leaves nothing: the next one appends to the head from before. If signing fails,
// nobody's part is committed. A crash leaves the head, its entries and its checkpoint
// together, or none of them.
//
// # What is hashed
//
// A leaf is one JSON object in canonical form (RFC 8785), at most [MaxLeaf] bytes:
//
//	{"decision":"…","kind":"decision","payload":{…},"personal":{"NAME":"HEX"},
//	 "subject":{…},"time":"RFC 3339","v":1}
//
// Its hash in the tree is SHA-256(0x00 ‖ leaf).
//
// Logins, e-mail addresses and names never stand in a leaf: [Entry.Payload] is
// refused if it looks as if they did, and [Entry.Personal] holds them instead. Of
// a personal value the leaf has a commitment only, 64 digits of hex:
//
//	SHA-256("sallyport ledger personal v1\n" ‖ salt ‖ uint64(len(NAME)) ‖ NAME ‖ value)
//
// where salt is 32 random bytes of its own, the length is big-endian and value is
// the value's canonical JSON. Salt and value together are the opening. Openings
// are stored beside the tree and are no part of it.
//
// # What an export contains
//
// JSON lines: a header with the newest checkpoint, then a line for each entry with
// its index, its hash, the leaf, the checkpoint where one was signed at that size,
// and, unless left out, the openings that still exist. See [Export].
//
// # What erasure leaves
//
// [Erase] removes openings. The tree does not change, so every root and checkpoint
// stays valid, and the leaf still proves that at this place something was recorded
// under this name, when, about which subject and with which outcome. What it was
// can no longer be read, nor can a guess be tested, since the salt is gone.
// Whoever kept the opening from before can still prove it.
//
// # What the controller of the store could do at worst
//
// Without the key: destroy the log, hand out an older one, or lose openings; not
// change, reorder, insert or drop an entry under a checkpoint that somebody has
// seen. With the key: begin a second history. Whoever holds an earlier checkpoint
// (each check run on GitHub shows size and root) finds that out, see [Witness].
package ledger
