package clients

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sealgate/sealgate/policy"
	"golang.org/x/time/rate"
)

// How many wrong passwords are taken: so many at once, and then one in each interval. A right one costs nothing.
const (
	attemptsByName  = 10
	attemptsByPlace = 50
	nameInterval    = 10 * time.Second
	placeInterval   = 2 * time.Second
)

// LimitedError says that there were too many attempts to look at another one.
type LimitedError struct{ Wait time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many attempts to log in; try again in %s", e.Wait)
}

// limits bounds attempts for each name and from each place. Where a name has logged in before, the attempts of others on
// that name do not count: nobody is locked out by a stranger elsewhere.
type limits struct {
	mu      sync.Mutex // guards that a key has one limiter
	names   *lru.Cache[string, *rate.Limiter]
	places  *lru.Cache[netip.Prefix, *rate.Limiter]
	trusted *lru.Cache[pair, struct{}]
}

type pair struct {
	name  string
	place netip.Prefix
}

func newLimits() *limits {
	return &limits{
		names: newCache[string, *rate.Limiter](maxRemembered), places: newCache[netip.Prefix, *rate.Limiter](maxRemembered),
		trusted: newCache[pair, struct{}](maxRemembered),
	}
}

// take takes one attempt, before the password is looked at, so that many at once are not one. giveBack returns it.
func (l *limits) take(name, address string) (giveBack func(), err error) {
	p := pair{boundedName(name), placeOf(address)}
	limiters := []*rate.Limiter{limiter(l, l.places, p.place, placeInterval, attemptsByPlace)}
	if !l.trusted.Contains(p) {
		limiters = append(limiters, limiter(l, l.names, p.name, nameInterval, attemptsByName))
	}

	now := time.Now()
	var taken []*rate.Reservation
	giveBack = func() {
		for _, r := range taken {
			r.CancelAt(now)
		}
	}
	for _, one := range limiters {
		r := one.ReserveN(now, 1)
		taken = append(taken, r)
		if wait := r.DelayFrom(now); wait > 0 {
			giveBack()
			return nil, &LimitedError{Wait: wait.Truncate(time.Second) + time.Second}
		}
	}
	return giveBack, nil
}

// trust remembers that a client logged in from a place.
func (l *limits) trust(name, address string) { l.trusted.Add(pair{name, placeOf(address)}, struct{}{}) }

func limiter[K comparable](l *limits, of *lru.Cache[K, *rate.Limiter], key K, every time.Duration, burst int) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := of.Get(key)
	if !ok {
		one = rate.NewLimiter(rate.Every(every), burst)
		of.Add(key, one)
	}
	return one
}

// boundedName is a name that somebody could have: all others share one limit.
func boundedName(name string) string {
	if policy.CheckClientName(name) != nil {
		return ""
	}
	return name
}

// placeOf is what one client can choose its address from: an IPv4 address, or a /64 of IPv6.
func placeOf(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(a, bits).Masked()
}
