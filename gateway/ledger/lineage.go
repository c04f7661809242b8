package ledger

import (
	"database/sql"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Bounds of what is known of lineage.
const (
	maxParts  = 100_000 // of which it is known in the process what they are part of
	maxWholes = 16      // that are remembered of one part
)

// lineage knows which admitted manifests are made of what.
type lineage struct {
	store *store

	mu    sync.Mutex // guards parts
	parts *simplelru.LRU[part, *known]
}

type part struct {
	repo   string
	digest digest.Digest
}

// known are the manifests that are made of a part. Lists are replaced, never changed.
type known struct {
	wholes []digest.Digest // the latest first: it is the likeliest to still be admitted
	read   bool            // the file was asked: it knows no more
}

func newLineage(s *store) *lineage {
	parts, err := simplelru.NewLRU[part, *known](maxParts, nil)
	if err != nil {
		panic("ledger: the size of the lineage is a positive constant: " + err.Error())
	}
	return &lineage{store: s, parts: parts}
}

func (l *lineage) admit(repo string, whole digest.Digest, parts []digest.Digest) {
	var fresh []digest.Digest // what the file should know
	l.mu.Lock()
	for _, d := range parts {
		key := part{repo, d}
		k, ok := l.parts.Get(key)
		if !ok {
			k = &known{read: l.store == nil}
			l.parts.Add(key, k)
		}
		if slices.Contains(k.wholes, whole) {
			continue
		}
		// Where it has as many as it may, it need not learn of one more: many images share a base, and are pulled in turns.
		if len(k.wholes) < maxWholes {
			fresh = append(fresh, d)
		}
		k.wholes = first(slices.Concat([]digest.Digest{whole}, k.wholes))
	}
	l.mu.Unlock()
	if len(fresh) == 0 {
		return
	}

	l.store.later(func(tx *sql.Tx) error {
		for _, d := range fresh {
			if _, err := tx.Exec("INSERT OR REPLACE INTO parts (repo, part, whole) VALUES (?, ?, ?)", repo, string(d), string(whole)); err != nil {
				return err
			}
			if _, err := tx.Exec("DELETE FROM parts WHERE repo = ?1 AND part = ?2 AND id NOT IN (SELECT id FROM parts WHERE repo = ?1 AND part = ?2 ORDER BY id DESC LIMIT ?3)",
				repo, string(d), maxWholes); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *lineage) wholes(repo string, d digest.Digest) []digest.Digest {
	key := part{repo, d}
	l.mu.Lock()
	k, ok := l.parts.Get(key)
	if ok && k.read {
		defer l.mu.Unlock()
		return k.wholes
	}
	l.mu.Unlock()

	remembered, err := l.remembered(repo, d)

	l.mu.Lock()
	defer l.mu.Unlock()
	k, ok = l.parts.Get(key)
	if !ok {
		k = &known{}
		l.parts.Add(key, k)
	}
	k.read = err == nil
	list := slices.Clip(k.wholes)
	for _, whole := range remembered {
		if !slices.Contains(list, whole) {
			list = append(list, whole)
		}
	}
	k.wholes = first(list)
	return k.wholes
}

// remembered asks the file.
func (l *lineage) remembered(repo string, d digest.Digest) (list []digest.Digest, err error) {
	err = l.store.read(func(db *sql.DB) error {
		rows, err := db.Query("SELECT whole FROM parts WHERE repo = ? AND part = ? ORDER BY id DESC LIMIT ?", repo, string(d), maxWholes)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var whole string
			if err := rows.Scan(&whole); err != nil {
				return err
			}
			if manifest.CheckDigest(digest.Digest(whole)) == nil { // whoever edits the file makes no path of it
				list = append(list, digest.Digest(whole))
			}
		}
		return rows.Err()
	})
	return list, err
}

func first(list []digest.Digest) []digest.Digest {
	return slices.Clip(list[:min(len(list), maxWholes)])
}
