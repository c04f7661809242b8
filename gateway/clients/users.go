package clients

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/policy"
	"golang.org/x/crypto/bcrypt"
)

// Users are names with their password hashes. They are immutable and safe for concurrent use.
type Users struct {
	hashes    map[string]string
	costliest int // of all hashes
}

// Costs of hashes that are taken. `htpasswd -B` makes 5 unless it is told otherwise; 14 takes about a second.
const (
	minCost = 5
	maxCost = 14
)

// ParseUsers reads a file as htpasswd -B writes it: a line name:hash for each user, with bcrypt hashes alone. Empty lines
// and lines that begin with # are left out.
func ParseUsers(raw []byte) (*Users, error) {
	u := &Users{hashes: map[string]string{}, costliest: minCost}
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, hash, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("line %d is not name:hash", n)
		}
		if err := policy.CheckClientName(name); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, twice := u.hashes[name]; twice {
			return nil, fmt.Errorf("line %d: %s is there already", n, name)
		}
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != hashLength {
			return nil, fmt.Errorf("line %d: the hash of %s is not one of bcrypt; make it with htpasswd -B", n, name)
		}
		if cost < minCost || cost > maxCost {
			return nil, fmt.Errorf("line %d: the hash of %s has the cost %d; it must be between %d and %d", n, name, cost, minCost, maxCost)
		}
		u.hashes[name], u.costliest = hash, max(u.costliest, cost)
	}
	if len(u.hashes) == 0 {
		return nil, fmt.Errorf("it names nobody")
	}
	return u, nil
}

// hashLength is that of $2y$05$, 22 characters of salt and 31 of hash.
const hashLength = 60

func (u *Users) hash(name string) (hash string, known bool) {
	hash, known = u.hashes[name]
	return hash, known
}

// check says whether a password is a user's. It takes as long for a wrong password as for a name that nobody has: as long
// as the costliest hash of all.
func (u *Users) check(name, password string) bool {
	if len(password) > maxPassword {
		password = ""
	}
	hash, known := u.hashes[name]
	if !known {
		_ = bcrypt.CompareHashAndPassword(nobody(u.costliest), []byte(password))
		return false
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && password != "" {
		return true
	}
	cost, err := bcrypt.Cost([]byte(hash))
	for ; err == nil && cost < u.costliest; cost++ { // each step costs as much as all before it
		_ = bcrypt.CompareHashAndPassword(nobody(cost), []byte(password))
	}
	return false
}

// nobody is a hash of no password that anybody knows.
func nobody(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, "Sealgate.nobody.......CdV4LbYvYhRJ6nqMHdFAsUGIkCR9j0m")
}

// fingerprint names a user's password without telling anything about it, the salt of the hash being secret.
func (u *Users) fingerprint(name string) (fingerprint string, known bool) {
	hash, known := u.hashes[name]
	sum := sha256.Sum256([]byte("sealgate client\x00" + name + "\x00" + hash))
	return base64.RawURLEncoding.EncodeToString(sum[:16]), known
}

// Has reports that a user has this name.
func (u *Users) Has(name string) bool {
	_, known := u.hashes[name]
	return known
}
