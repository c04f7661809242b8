package main

import (
	"time"

	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sealgate/sealgate/verifier/inspect"
	"github.com/sealgate/sealgate/verifier/scan"
)

// builder makes regimes out of configurations. Registries outlive a regime: one whose configuration did not change is the
// same in the next, with its connections, tokens and locks, and the embedded one is never opened twice. It is not safe for
// concurrent use.
type builder struct {
	getenv  func(string) string
	openKey keyOpener // nil: [signer.LoadKeyFile]
	dry     bool      // check only: open no registry
	alone   bool      // the regime answers nobody but us, so nobody has to log in

	registries []standingRegistry
	layers     *inspect.Layers         // what was found in layers; nil remembers nothing
	ledger     *ledger.Ledger          // which remembers evidence; nil remembers none
	queue      *scan.Queue             // where scans wait; nil: nothing is scanned but by
	scanner    string                  // this one, at once
	workplace  *scan.Workplace         // and where they are done
	doors      map[string]standingDoor // where adapters pull what they scan, by address
	desk       *clients.Desk           // where clients log in; nil until a configuration knows some
	issuers    map[string]standingIssuer
	tokens     map[PKCS11]*signer.Key // keys in tokens, which stay open
	ages       map[string]*age        // of trust roots, by name
}

// built is what a configuration became.
type built struct {
	Regime      *gateway.Regime // nil when dry
	Policy      *policy.Policy
	Prover      *verifier.Verifier       // that of the regime, without memory, before it is told what a policy needs
	Bases       map[string][]policy.Base // approved base images, by the file that lists them
	Public      *door
	Admin       *door
	Authorities map[string]string // fingerprints by name
	Audited     []string          // policies in audit mode
	Roots       trustRoots        // by name, those that are configured, and public-good
	Warnings    []warning         // what an operator should know

	registries []standingRegistry
}

// build opens what the configuration names, and compiles its policies. The error is of type [Problems] and holds all that is
// wrong. What was built has no effect before [builder.keep]; without it, [builder.drop] closes what is new.
func (b *builder) build(l *Loaded) (*built, error) {
	made := &built{}
	roots, problems := b.openTrustRoots(l)
	made.Roots = roots
	signers, more := b.loadSigners(l, roots, made.warn)
	problems = append(problems, more...)
	authorities, fingerprints, more := openAuthorities(l, signers, roots, made.warn)
	problems = append(problems, more...)
	made.Authorities = fingerprints

	if set := l.Config.unsafe(); len(set) > 0 {
		made.warn("UNSAFE: these settings take a protection away", "settings", set)
	}

	bases, more := readBases(l)
	problems = append(problems, more...)
	compiled, err := policy.Compile(l.Config.Policies, known(l, fingerprints, signers, bases))
	if err != nil && len(more) == 0 { // a list that was not read approves nothing, which was said
		problems = append(problems, l.faults(err)...)
	}
	made.Public, made.Admin, more = openDoors(l)
	problems = append(problems, more...)
	roster, more := b.readClients(l)
	problems = append(problems, more...)
	wanted, more := readRegistries(l)
	problems = append(problems, more...)
	if b.dry {
		_, more := b.openScanners(l, nil, made)
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		return nil, problems.orNil() // before anything is opened that would have to be closed
	}
	made.Policy = compiled
	for _, p := range l.Config.Policies {
		if p.Mode == "audit" {
			made.Audited = append(made.Audited, p.Name)
		}
	}
	if b.dry {
		return made, nil
	}

	directory, problems := b.openClients(l, roster, made.Public.clientRoots)
	if len(problems) > 0 {
		return nil, problems.orNil()
	}
	registries, problems := b.openRegistries(l, wanted, made)
	if len(problems) > 0 {
		b.drop(made)
		return nil, problems.orNil()
	}
	proven, err := verifier.New(registries, authorities)
	if err != nil {
		b.drop(made)
		return nil, Problems{l.problem("authorities", "%v", err)}
	}
	sealers, err := openSealers(&l.Config, signers, registries)
	if err != nil {
		b.drop(made)
		return nil, Problems{l.problem("signers", "%v", err)}
	}
	made.Prover, made.Bases = proven.WithSameRepository(sameRepository(registries, compiled)), bases
	proven = made.Prover.WithNeeds(needs(compiled))
	if bridge := l.Config.Verification.OutageTTL; b.ledger != nil && bridge > 0 {
		proven = proven.WithMemory(b.ledger.Evidence(memorySecret(l, signers)), bridge)
	}
	if !b.alone { // who asks for one image wants to see all that there is
		proven = proven.WithEnough(func(s policy.Subject, found []policy.Signature) bool { return compiled.Rule(s.Repo).Enough(s, found) })
	}
	made.Regime = &gateway.Regime{
		Policy:     compiled,
		Registries: registries,
		Clients:    directory,
		Verifier: verifier.NewCache(proven, verifier.CacheOptions{
			TTL: l.Config.Verification.CacheTTL, Entries: l.Config.Verification.CacheEntries, Lane: lane(registries),
		}),
		Inspector: inspect.Inspector{Blobs: registries, Layers: b.layers},
		Sealers:   sealers,
	}
	if b.queue != nil {
		if made.Regime.Scanners, problems = b.openScanners(l, registries, made); len(problems) > 0 {
			b.drop(made)
			return nil, problems.orNil()
		}
	}
	return made, nil
}

// lane names the registry of a repository.
func lane(registries *upstream.Registries) func(repo string) string {
	return func(repo string) string {
		if registry, _, ok := registries.Find(repo); ok {
			return registry.Name()
		}
		return ""
	}
}

// memorySecret authenticates what is remembered of evidence, with what is derived from a signing key: who has that can seal
// images in any case, and gains nothing by forging memories. Without a key of our own there is none, and what is remembered
// ends with the process.
func memorySecret(l *Loaded, signers map[string]signer.Party) []byte {
	for _, s := range l.Config.Signers {
		if key, ok := signers[s.Name].(*signer.Key); ok {
			if secret, ok := key.Secret("sealgate ledger evidence"); ok {
				return secret
			}
		}
	}
	return nil
}

// sameRepository takes a signature for a repository's under the name that clients use and under the one that the registry
// has it by: who signs around the gateway knows only that. Under any other name it counts only where the policy says so.
func sameRepository(registries *upstream.Registries, p *policy.Policy) func(repo, reference string) bool {
	return func(repo, reference string) bool {
		_, name, ok := registries.Find(repo)
		if verifier.SameRepository(repo, reference) || ok && verifier.SameRepository(name, reference) {
			return true
		}
		host, path, ok := verifier.SplitReference(reference)
		return ok && p.Rule(repo).Remaps(repo, host+"/"+path)
	}
}

// needs tells a verifier which attestations the policy asks for. A verifier, with what it remembers, belongs to one policy.
func needs(p *policy.Policy) func(repo string) policy.Needs {
	return func(repo string) policy.Needs { return p.Rule(repo).Needs() }
}

// known is what policies may refer to. A name whose key did not load is known without a fingerprint, so that the policies
// are checked all the same; nothing is built from it.
func known(l *Loaded, authorities map[string]string, signers map[string]signer.Party, bases map[string][]policy.Base) policy.Known {
	k := policy.Known{Authorities: map[string]string{}, Signers: map[string]string{}, Scanners: map[string]string{}, Bases: bases, Now: time.Now()}
	for _, a := range l.Config.Authorities {
		k.Authorities[a.Name] = authorities[a.Name]
	}
	for _, s := range l.Config.Signers {
		k.Signers[s.Name] = ""
		if party := signers[s.Name]; party != nil {
			k.Signers[s.Name] = party.Fingerprint()
		}
	}
	for _, s := range l.Config.Scanners {
		k.Scanners[s.Name] = s.fingerprint()
	}
	for _, group := range l.Config.Clients.Groups {
		k.Groups = append(k.Groups, group.Name)
	}
	return k
}
