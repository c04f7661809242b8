package ledger

import (
	"database/sql"
	"sync/atomic"
	"time"
)

// newest is the latest time that anything was recorded at, over restarts too: a clock that shows an earlier one is wrong. It is
// written once a minute at most.
type newest struct {
	store   *store
	at      atomic.Int64 // Unix nanoseconds
	written atomic.Int64
}

const newestEvery = time.Minute

// maxBehind is how far behind the newest a clock may be that is not wrong.
const maxBehind = 5 * time.Minute

func newNewest(s *store) *newest {
	n := &newest{store: s}
	var at int64
	_ = s.read(func(db *sql.DB) error { return db.QueryRow("SELECT at FROM newest").Scan(&at) }) // none, in a new file
	n.at.Store(at)
	n.written.Store(at)
	return n
}

func (n *newest) note(t time.Time) {
	at := t.UnixNano()
	for {
		before := n.at.Load()
		if at <= before {
			return
		}
		if n.at.CompareAndSwap(before, at) {
			break
		}
	}
	if written := n.written.Load(); at-written >= int64(newestEvery) && n.written.CompareAndSwap(written, at) {
		n.store.later(func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO newest (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = max(at, ?1)", at)
			return err
		})
	}
}

func (n *newest) time() time.Time {
	if at := n.at.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// Newest is the latest time that a decision was recorded at, to a minute over restarts. Zero is never.
func (l *Ledger) Newest() time.Time { return l.newest.time() }
