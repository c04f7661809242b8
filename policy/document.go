package policy

import "slices"

// The document: what an administrator writes, before anything of it is believed. The field tags are the keys of the
// configuration file.

// Document is one rule as written.
type Document struct {
	// Name of the policy; it is what a refused person reads.
	Name string `mapstructure:"name"`

	// Repositories that the rule covers, by glob: * stands for a part of one path component, ** for one or more whole
	// components. The first policy that matches a repository decides; what none names is denied.
	Repositories []string `mapstructure:"repositories"`

	// Mode is enforce (the default) or audit: judge, record, warn and serve.
	Mode string `mapstructure:"mode"`

	// Allow says who may do what here. Without it everybody may pull and push who is let in by the clients section.
	Allow []AllowDocument `mapstructure:"allow"`

	// Pull is what a pull demands. Without it nothing may be pulled.
	Pull *PullDocument `mapstructure:"pull"`

	// Push is what happens to a push. Without it nothing may be pushed.
	Push *PushDocument `mapstructure:"push"`
}

// AllowDocument gives clients rights. What no entry gives is refused, in audit mode too.
type AllowDocument struct {
	// Clients are names of clients, * for everybody who logged in, or anonymous for everybody, logged in or not.
	Clients []string `mapstructure:"clients"`

	// Groups are names of groups in the clients section.
	Groups []string `mapstructure:"groups"`

	// May lists pull, push and delete.
	May []string `mapstructure:"may"`
}

// PullDocument is what a pull demands.
type PullDocument struct {
	// DigestOnly refuses tags and tells which digest to pin.
	DigestOnly bool `mapstructure:"digest_only"`

	// SignedBy names who must have signed.
	SignedBy *SignedBy `mapstructure:"signed_by"`

	// AdmitUnverified lets images pass that nobody vouches for. It stands alone: it cannot be combined with SignedBy.
	AdmitUnverified bool `mapstructure:"admit_unverified"`
}

// SignedBy names authorities. Exactly one of Any, All and Of is set.
type SignedBy struct {
	Any []string `mapstructure:"any"` // one of these
	All []string `mapstructure:"all"` // each of these

	Of      []string `mapstructure:"of"`       // AtLeast distinct ones of these
	AtLeast int      `mapstructure:"at_least"` // between 1 and the number of names in Of
}

// PushDocument is what happens to a push: the image is checked, then sealed.
type PushDocument struct {
	// Image lists the checks of the image itself.
	Image ImageDocument `mapstructure:"image"`

	// Seal signs what passed.
	Seal *SealDocument `mapstructure:"seal"`

	// AcceptUnsealed stores what passed without signing it. It stands alone: it cannot be combined with Seal.
	AcceptUnsealed bool `mapstructure:"accept_unsealed"`
}

// ImageDocument lists the checks of an image. Each is allow, warn or deny where it names an action.
type ImageDocument struct {
	// NonRoot wants a numeric user other than 0 in the image's configuration. A user name does not count: what it maps
	// to is decided inside the image. Default allow.
	NonRoot string `mapstructure:"nonroot"`

	// MaxBytes bounds the sum of the compressed sizes, in bytes. Default 0: no bound.
	MaxBytes int64 `mapstructure:"max_bytes"`

	// MaxLayers bounds the number of layers. Default 127, which is what storage drivers can stack.
	MaxLayers int `mapstructure:"max_layers"`
}

// SealDocument says how an admitted image is sealed.
type SealDocument struct {
	// Signer is the configured name of the signer.
	Signer string `mapstructure:"signer"`
}

// clone copies all that a rule keeps, so that nobody changes it afterwards.
func (d *PullDocument) clone() *PullDocument {
	c := *d
	if d.SignedBy != nil {
		by := *d.SignedBy
		by.Any, by.All, by.Of = slices.Clone(by.Any), slices.Clone(by.All), slices.Clone(by.Of)
		c.SignedBy = &by
	}
	return &c
}

func (d *PushDocument) clone() *PushDocument {
	c := *d
	if d.Seal != nil {
		seal := *d.Seal
		c.Seal = &seal
	}
	return &c
}
