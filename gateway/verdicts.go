package gateway

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/sealgate/sealgate/policy"
)

// maxVerdicts bounds the admits that are remembered.
const maxVerdicts = 65_536

// verdicts remembers admits under one regime, so that expressions are not evaluated again for each pull of an image. An admit
// rests on one piece of evidence, which is known by when it was proven, and ends before any limit of the rule is passed: at
// every time before its end a new judgement would be the same. Refusals are judged each time.
type verdicts struct {
	mu  sync.Mutex // guards lru
	lru *simplelru.LRU[judged, admit]
}

// judged is what a verdict is about.
type judged struct {
	subject       policy.Subject
	pinned, index bool
}

type admit struct {
	judgement judgement
	proven    time.Time // the evidence
	until     time.Time // zero is never
}

func newVerdicts() *verdicts {
	lru, err := simplelru.NewLRU[judged, admit](maxVerdicts, nil)
	if err != nil {
		panic("gateway: the size of the verdicts is a positive constant: " + err.Error())
	}
	return &verdicts{lru: lru}
}

// find returns the admit that rests on this evidence, where it holds at a time.
func (v *verdicts) find(key judged, ev policy.Evidence, at time.Time) (judgement, bool) {
	if v == nil || ev.Proven.IsZero() {
		return judgement{}, false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	a, ok := v.lru.Get(key)
	if !ok || !a.proven.Equal(ev.Proven) || !a.until.IsZero() && !at.Before(a.until) {
		return judgement{}, false
	}
	return a.judgement, true
}

func (v *verdicts) keep(key judged, ev policy.Evidence, j judgement, until time.Time) {
	if v == nil || ev.Proven.IsZero() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lru.Add(key, admit{j, ev.Proven, until})
}
