package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// demandedSignatures is what a pull demands of signatures, nil where that is nothing.
func (r *Rule) demandedSignatures() *SignedBy {
	if r == nil || r.pull == nil {
		return nil
	}
	return r.pull.SignedBy
}

func (by *SignedBy) compileAge(path string, fault func(path, format string, args ...any)) {
	switch {
	case by.MaxAge < 0:
		fault(path+".max_age", "is negative")
	case by.TrustStatementTime && by.MaxAge == 0:
		fault(path+".trust_statement_time", "means nothing without max_age; leave it out")
	}
}

// time is when a signature was made, as far as the rule believes it. Zero is unknown.
func (by *SignedBy) time(sig Signature) time.Time {
	if sig.Time.IsZero() && by.TrustStatementTime {
		return sig.Claimed
	}
	return sig.Time
}

// timely are the signatures that count at a time. Each is looked at alone, so that one more never takes another's place.
func (by *SignedBy) timely(all []Signature, at time.Time) []Signature {
	if by.MaxAge == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(sig Signature) bool {
		code, _ := by.late(sig, at)
		return code != ""
	})
}

// late says why a signature does not count at a time, and nothing where it does. why goes on after "the signature by ci".
func (by *SignedBy) late(sig Signature, at time.Time) (code Code, why string) {
	made := by.time(sig)
	switch {
	case by.MaxAge <= 0:
		return "", ""
	case made.IsZero():
		return Untimed, "has no time that a log or a timestamp authority vouches for"
	case made.After(at.Add(maxSkew)):
		return FutureDated, "is from the future, " + made.UTC().Format(time.RFC3339)
	case at.Sub(made) > by.MaxAge:
		return Stale, fmt.Sprintf("is %s old, at most %s are allowed", spanBeyond(at.Sub(made), by.MaxAge), span(by.MaxAge))
	}
	return "", ""
}

// sayAge words that authorities who are missing signed all the same, at another time. The newest signature of theirs tells most.
func (by *SignedBy) sayAge(reason *Reason, missing []string, word string, all []Signature, at time.Time) {
	reason.Requirement += fmt.Sprintf(", at most %s old", span(by.MaxAge))
	var newest *Signature
	for i := range all {
		sig := &all[i]
		if code, _ := by.late(*sig, at); code != "" && slices.Contains(missing, sig.Authority) && (newest == nil || by.time(*sig).After(by.time(*newest))) {
			newest = sig
		}
	}
	if newest == nil {
		return
	}
	code, why := by.late(*newest, at)
	reason.Code, reason.Why = code, shown(maxWhy, "the signature by %s %s", newest.Authority, why)
	if others := slices.DeleteFunc(slices.Clone(missing), func(name string) bool { return name == newest.Authority }); len(others) > 0 {
		reason.Why = shown(maxWhy, "%s; none by %s counts either", reason.Why, strings.Join(others, word))
	}
	switch code {
	case Stale: // signing the same image again says nothing new about it
		reason.Fix = "build the image again, and have it signed by " + strings.Join(missing, word)
	case Untimed:
		reason.Fix = "sign it with a timestamp authority or a log, or set trust_statement_time for signatures that say when they were made"
	}
}

// spanBeyond words a duration that is longer than the most that is allowed, also where both would read alike.
func spanBeyond(d, most time.Duration) string {
	if span(d) == span(most) {
		return "more than " + span(most)
	}
	return span(d)
}
