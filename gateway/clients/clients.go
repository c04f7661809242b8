// Package clients says who asks: a person with a name and password (users.go), a workload with an id-token of its platform
// (workload.go), a machine with a certificate (certificate.go), the holder of a token that was given for one of these
// (token.go), or somebody who does not say.
//
// A [Directory] is who is known under one configuration. It is immutable; a new one replaces it as a whole. A [Desk] is what
// outlives directories: the keys of tokens, the limits of attempts, and what was checked already. A token carries a
// fingerprint of its holder's password hash and is held against the directory of the moment, so that a client that is
// removed, or gets another password, is a stranger with the next request, whatever tokens it has.
package clients

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"runtime"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sealgate/sealgate/policy"
)

// ErrCredentials says that a name with its password, or a token, is not right. It does not say what of them.
var ErrCredentials = errors.New("the credentials are not right")

// Bounds of what a desk does and remembers.
const (
	maxPassword   = 1024            // bytes; bcrypt reads 72
	maxProven     = 4096            // passwords
	provenTime    = 5 * time.Minute // for which a right password is not hashed again
	maxWaiting    = 64              // logins that wait for a CPU
	maxVerified   = 16_384          // tokens whose signature is not checked again
	maxIDTokens   = 1024            // the same, of others' tokens, which are larger
	maxRemembered = 16_384          // names, places and their pairs, each
)

// Desk checks credentials and gives tokens. It is safe for concurrent use.
type Desk struct {
	keys     *keyRing
	limits   *limits
	proven   *lru.Cache[[sha256.Size]byte, time.Time] // until when
	secret   [32]byte                                 // names the entries of proven: no password can be read from them
	verified *lru.Cache[[sha256.Size]byte, *claims]   // by the token's hash
	idTokens *lru.Cache[[sha256.Size]byte, *idToken]  // the same

	waiting  chan struct{} // a place in the queue
	checking chan struct{} // a CPU: hashing a password takes a good part of a second
}

// OpenDesk opens a desk whose keys are in a file, which is made when it is not there.
func OpenDesk(file string) (*Desk, error) {
	keys, err := openKeys(file)
	if err != nil {
		return nil, err
	}
	d := &Desk{
		keys: keys, limits: newLimits(),
		proven: newCache[[sha256.Size]byte, time.Time](maxProven), verified: newCache[[sha256.Size]byte, *claims](maxVerified),
		idTokens: newCache[[sha256.Size]byte, *idToken](maxIDTokens),
		waiting:  make(chan struct{}, maxWaiting), checking: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	_, _ = rand.Read(d.secret[:]) // never fails, or ends the program
	return d, nil
}

func newCache[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic("clients: the size of a cache is a positive constant: " + err.Error())
	}
	return cache
}

// Group is a name for several clients.
type Group struct {
	Name    string
	Members []string
}

// Directory is who is known. It is immutable and safe for concurrent use.
type Directory struct {
	desk      *Desk
	users     *Users
	workloads []Workload
	groups    map[string][]string // by member
	anonymous bool

	certificates *certificates // nil: nobody is known by one
}

// Holder is a client, with how long what it showed is good for.
type Holder struct {
	policy.Client

	ends      time.Time // nothing that is given for it lives longer; zero for a password, which has no end
	renewable bool      // tokens that are given for it can be renewed until then
}

// Directory makes a directory. Without users nobody has a password. anonymous lets clients in that do not say who they are.
func (d *Desk) Directory(users *Users, groups []Group, anonymous bool) *Directory {
	if users == nil {
		users = &Users{costliest: minCost}
	}
	directory := &Directory{desk: d, users: users, groups: map[string][]string{}, anonymous: anonymous}
	for _, group := range groups {
		for _, member := range group.Members {
			directory.groups[member] = append(directory.groups[member], group.Name)
		}
	}
	return directory
}

// WithWorkloads returns a directory that knows these as well. Of several that match one token, the first is meant.
func (d *Directory) WithWorkloads(workloads []Workload) *Directory {
	next := *d
	next.workloads = slices.Clone(workloads)
	return &next
}

// Anonymous reports whether clients are let in that do not say who they are.
func (d *Directory) Anonymous() bool { return d.anonymous }

// Login says who has a name and password. A workload shows its id-token for a password, under whatever name. address is
// where the client asks from. The error is [ErrCredentials], a [*LimitedError], an [*IssuerError], or the context's.
func (d *Directory) Login(ctx context.Context, address, name, password string) (Holder, error) {
	if h, err := d.Workload(ctx, password); !errors.Is(err, ErrForeign) {
		return h, err // which nobody guesses: no attempt is counted
	}
	hash, known := d.users.hash(name)
	proof := d.desk.proof(name, password, hash)
	if until, ok := d.desk.proven.Get(proof); known && ok && time.Now().Before(until) {
		return Holder{Client: d.client(name)}, nil
	}

	giveBack, err := d.desk.limits.take(name, address)
	if err != nil {
		return Holder{}, err
	}
	right, err := d.desk.check(ctx, func() bool { return d.users.check(name, password) })
	if err != nil {
		giveBack()
		return Holder{}, err
	}
	if !right {
		return Holder{}, ErrCredentials
	}
	giveBack()
	d.desk.limits.trust(name, address)
	d.desk.proven.Add(proof, time.Now().Add(provenTime))
	return Holder{Client: d.client(name)}, nil
}

// proof names a password that was right for a hash.
func (d *Desk) proof(name, password, hash string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, d.secret[:])
	for _, part := range []string{name, hash, password} {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	return [sha256.Size]byte(mac.Sum(nil))
}

// check runs a check when a CPU is free for it.
func (d *Desk) check(ctx context.Context, run func() bool) (bool, error) {
	select {
	case d.waiting <- struct{}{}:
		defer func() { <-d.waiting }()
	default:
		return false, &LimitedError{Wait: time.Second}
	}
	select {
	case d.checking <- struct{}{}:
		defer func() { <-d.checking }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return run(), nil
}

// client is a client by its name, with its groups of this moment.
func (d *Directory) client(name string) policy.Client {
	if name == "" {
		return policy.Client{}
	}
	return policy.Client{Name: name, Groups: slices.Clone(d.groups[name])}
}

// fingerprint names what makes a known client that client: the hash of a password, or what is asked of an id-token.
func (d *Directory) fingerprint(name string) (fingerprint string, known bool) {
	for _, w := range d.workloads {
		if w.Name == name {
			return w.fingerprint(), true
		}
	}
	return d.users.fingerprint(name)
}
