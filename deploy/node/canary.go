package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Canary is an image that is pulled to see what happens.
type Canary struct {
	Image   Image  `json:"-"`
	Name    string `json:"image"`
	Admit   bool   `json:"admit"`   // whether the gateway admits it, as it should be
	Gateway string `json:"gateway"` // what the gateway said
	Node    string `json:"node"`    // what the node's client said
	Result  Result `json:"result"`
}

// Result is what a canary proves. The zero value proves nothing.
type Result string

const (
	Holds    Result = "holds"     // it came, or did not come, as it must
	FellBack Result = "fell back" // the gateway refuses it, and the node has it
	Unproven Result = "unproven"
	NoAnswer Result = "no answer" // the gateway gave none
)

// Prover pulls canaries.
type Prover struct {
	Gateway  Gateway
	Client   Client
	Keychain authn.Keychain    // for the gateway, where it asks who we are
	Way      http.RoundTripper // to the gateway
}

// Prove asks the gateway for each canary, pulls each with the node's client, and removes what it pulled. An image that the
// node has already is left alone and proves nothing, for it would not be fetched.
func (p Prover) Prove(ctx context.Context, canaries []Canary) []Canary {
	proven := make([]Canary, len(canaries))
	came := map[string]bool{} // hosts of which an admitted image came
	for _, admit := range []bool{true, false} {
		for i, c := range canaries {
			if c.Admit != admit {
				continue
			}
			c.Name = c.Image.String()
			c.Result = p.prove(ctx, &c)
			if c.Admit && c.Result == Holds {
				came[c.Image.host] = true
			}
			if !c.Admit && c.Result == Holds && !came[c.Image.host] {
				c.Result = Unproven
				c.Node += " (no admitted image of " + c.Image.host + " came either, so this may have another reason)"
			}
			proven[i] = c
		}
	}
	return proven
}

func (p Prover) prove(ctx context.Context, c *Canary) Result {
	admitted, words, err := p.Gateway.Ask(ctx, c.Image, p.Keychain, p.Way)
	switch {
	case errors.Is(err, ErrUnreached):
		c.Gateway = firstLine(err.Error())
		return NoAnswer
	case err != nil:
		c.Gateway = firstLine(err.Error())
		return Unproven
	case admitted:
		c.Gateway = "admits it"
	default:
		c.Gateway = "refuses it: " + firstLine(words)
	}
	if admitted != c.Admit {
		c.Node = "not asked, because the gateway's answer is not what this canary is for"
		return Unproven
	}

	there, err := p.Client.has(ctx, c.Image)
	if err != nil {
		c.Node = firstLine(err.Error())
		return Unproven
	}
	if there {
		c.Node = "has it already; remove it there, or take another"
		return Unproven
	}
	output, err := p.Client.pull(ctx, c.Image)
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		c.Node = "pulled it"
		p.forget(ctx, c)
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		c.Node = "did not get it: " + lastLine(output)
	default:
		c.Node = firstLine(err.Error())
		return Unproven
	}
	switch {
	case err == nil && !c.Admit:
		return FellBack
	case err != nil && c.Admit:
		return Unproven
	}
	return Holds
}

// forget removes a canary, also when the one who waits for us hung up.
func (p Prover) forget(ctx context.Context, c *Canary) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := p.Client.remove(ctx, c.Image); err != nil {
		c.Node += fmt.Sprintf(", and could not remove it again (%v)", err)
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return shorten(line)
}

// lastLine is where clients say what was wrong; the gateway's own words come first where they are in it.
func lastLine(s string) string {
	if i := strings.LastIndex(s, "sealgate: "); i >= 0 {
		return firstLine(strings.ReplaceAll(s[i:], `\n`, "\n"))
	}
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return shorten(lines[len(lines)-1])
}

// maxWords bounds what is kept of others' texts, in bytes.
const maxWords = 300

func shorten(s string) string {
	s = strings.TrimSpace(s)
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > maxWords {
		return strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}
