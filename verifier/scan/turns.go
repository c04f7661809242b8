package scan

import (
	"context"
	"errors"
	"sync"
)

// errBusy says that too many wait already.
var errBusy = errors.New("too many scans are waiting")

// turns lets a few at once, and the others in turn: whoever has many waiting gets one turn where others get one too.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting map[string][]chan struct{} // by tenant, in the order in which they came
	order   []string                   // tenants with somebody waiting; the first is next
	count   int
	most    int // that may wait
	each    int // of one tenant
}

func newTurns(atOnce, most, each int) *turns {
	return &turns{free: atOnce, waiting: map[string][]chan struct{}{}, most: most, each: each}
}

// enter waits for a turn. Who got one calls leave.
func (t *turns) enter(ctx context.Context, tenant string) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	if t.count >= t.most || len(t.waiting[tenant]) >= t.each {
		t.mu.Unlock()
		return errBusy
	}
	turn := make(chan struct{}, 1)
	if len(t.waiting[tenant]) == 0 {
		t.order = append(t.order, tenant)
	}
	t.waiting[tenant] = append(t.waiting[tenant], turn)
	t.count++
	t.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.forget(tenant, turn) { // it was our turn already
			t.pass()
		}
		return ctx.Err()
	}
}

// leave gives the turn to the next.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// pass gives a free turn to the next tenant, who goes to the end of the order. The caller holds the lock.
func (t *turns) pass() {
	if len(t.order) == 0 {
		t.free++
		return
	}
	tenant := t.order[0]
	t.order = t.order[1:]
	list := t.waiting[tenant]
	list[0] <- struct{}{}
	t.count--
	if list = list[1:]; len(list) == 0 {
		delete(t.waiting, tenant)
		return
	}
	t.waiting[tenant] = list
	t.order = append(t.order, tenant)
}

// forget takes one who waits out of the line, and reports whether it was in it. The caller holds the lock.
func (t *turns) forget(tenant string, turn chan struct{}) bool {
	list := t.waiting[tenant]
	for i, other := range list {
		if other != turn {
			continue
		}
		t.waiting[tenant] = append(list[:i:i], list[i+1:]...)
		t.count--
		if len(t.waiting[tenant]) == 0 {
			delete(t.waiting, tenant)
			for j, name := range t.order {
				if name == tenant {
					t.order = append(t.order[:j:j], t.order[j+1:]...)
					break
				}
			}
		}
		return true
	}
	return false
}

// length is how many wait.
func (t *turns) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}
