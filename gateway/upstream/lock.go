package upstream

import "sync"

// locks are mutexes by name that take no memory while nobody holds them. They belong to a registry, so that whoever shares
// it shares them. The zero value is ready.
type locks struct {
	mu   sync.Mutex // guards all below
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	users int // who holds it or waits for it
}

func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	one := l.held[name]
	if one == nil {
		one = &lock{}
		l.held[name] = one
	}
	one.users++
	l.mu.Unlock()

	one.Lock()
	return sync.OnceFunc(func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.held, name)
		}
	})
}
