package main

import (
	"fmt"
	"os"
	"time"

	"github.com/sealgate/sealgate/verifier"
)

// Instance is a Sigstore deployment of one's own. Each part is believed from the beginning; replacing one takes a file, which
// has times.
type Instance struct {
	// Fulcio are PEM files with a chain each, the certificate that issues first and the root last. Required.
	Fulcio []string `mapstructure:"fulcio"`

	// Rekor are the transparency logs.
	Rekor []Rekor `mapstructure:"rekor"`

	// CT are PEM files with the public key of a certificate log each.
	CT []string `mapstructure:"ct"`

	// TSA are PEM files with the chain of a timestamp authority each, the certificate that stamps first and the root last.
	TSA []string `mapstructure:"tsa"`
}

// Rekor is a transparency log.
type Rekor struct {
	// URL is what the log calls itself. Nothing is fetched from there.
	URL string `mapstructure:"url"`

	// Key is a PEM file with its public key.
	Key string `mapstructure:"key"`
}

func (m *trustRoot) ofInstance(i Instance) (roots []*verifier.TrustRoot, where string, err error) {
	var own verifier.Instance
	newest := time.Unix(0, 0)
	noted := func(file string) string {
		if stat, err := os.Stat(file); err == nil && stat.ModTime().After(newest) {
			newest = stat.ModTime()
		}
		return file
	}
	for n, file := range i.Fulcio {
		chain, err := readCertificates(noted(file))
		if err != nil {
			return nil, fmt.Sprintf(".instance.fulcio[%d]", n), err
		}
		own.Authorities = append(own.Authorities, chain)
	}
	for n, file := range i.TSA {
		chain, err := readCertificates(noted(file))
		if err != nil {
			return nil, fmt.Sprintf(".instance.tsa[%d]", n), err
		}
		own.Timestamps = append(own.Timestamps, chain)
	}
	for n, log := range i.Rekor {
		key, err := readPublicKey(noted(log.Key))
		if err != nil {
			return nil, fmt.Sprintf(".instance.rekor[%d].key", n), err
		}
		own.Logs = append(own.Logs, verifier.Log{URL: log.URL, Key: key})
	}
	for n, file := range i.CT {
		key, err := readPublicKey(noted(file))
		if err != nil {
			return nil, fmt.Sprintf(".instance.ct[%d]", n), err
		}
		own.CertificateLogs = append(own.CertificateLogs, key)
	}
	m.age.set(newest)
	root, err := verifier.NewTrustRoot(own)
	if err != nil {
		return nil, ".instance", err
	}
	return []*verifier.TrustRoot{root}, "", nil
}
