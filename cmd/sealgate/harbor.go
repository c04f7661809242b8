package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/harbor"
)

// HarborAdapter is a service that speaks Harbor's Pluggable Scanner API, version 1.1 or 1.2.
type HarborAdapter struct {
	// URL is scheme://host[:port] of the adapter, before /api/v1. Required.
	URL string `mapstructure:"url"`

	// TokenFile holds what the adapter wants to see as a Bearer token. Others must not be able to read it. Default: none.
	TokenFile string `mapstructure:"token_file"`

	// Door is a listener where the adapter pulls what it is to scan: one image at a time, with a password for one scan.
	Door Door `mapstructure:"door"`
}

// Door is a listener for scanners.
type Door struct {
	// Address is host:port to listen at. It speaks plain HTTP: keep it on loopback, inside, or behind a proxy with TLS.
	// Required.
	Address string `mapstructure:"address"`

	// URL is how the adapter reaches it: scheme://host[:port]. Default: http:// and the address.
	URL string `mapstructure:"url"`
}

func (v *validator) adapter(at string, a HarborAdapter) {
	v.origin(at+".url", a.URL)
	if a.TokenFile != "" && strings.HasPrefix(a.URL, "http://") && !isLoopback(a.URL) {
		v.add(at+".token_file", "would travel in plain text; use an https URL")
	}
	v.address(at+".door.address", a.Door.Address)
	if a.Door.URL != "" {
		v.origin(at+".door.url", a.Door.URL)
	} else if host, port, err := net.SplitHostPort(a.Door.Address); err == nil && (host == "" || port == "0" || net.ParseIP(host).IsUnspecified()) {
		v.add(at+".door.url", "is missing, and the address is none that an adapter could reach; say how it gets here")
	}
}

// openHarbor makes a scanner of an adapter. Its door listens from then on, as long as the gateway runs.
func (b *builder) openHarbor(s Scanner, blobs scan.Blobs) (scanner scan.Scanner, where string, err error) {
	adapter := s.Harbor
	token := ""
	if adapter.TokenFile != "" {
		raw, err := readPassword(adapter.TokenFile)
		if err != nil {
			return nil, ".harbor.token_file", err
		}
		token = string(raw)
	}
	at, err := url.Parse(adapter.URL)
	if err != nil {
		return nil, ".harbor.url", err
	}
	door := harbor.NewDoor()
	if b.queue != nil || b.scanner == s.Name {
		if door, err = b.openDoor(adapter.Door.Address); err != nil {
			return nil, ".harbor.door.address", err
		}
	}
	reached := adapter.Door.URL
	if reached == "" {
		reached = "http://" + adapter.Door.Address
	}
	scanner = harbor.New(harbor.Options{
		URL: at, Blobs: blobs, Door: door, DoorURL: reached, Bearer: token, Timeout: s.Timeout,
	})
	return b.compared(scanner, s, blobs), "", nil
}

// standingDoor is a door that listens. It knows no image until a scan opens it.
type standingDoor struct {
	door   *harbor.Door
	server *http.Server
}

// openDoor returns the door at an address, a new one when there is none.
func (b *builder) openDoor(address string) (*harbor.Door, error) {
	if standing, ok := b.doors[address]; ok {
		return standing.door, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	door := harbor.NewDoor()
	server := &http.Server{
		Handler: door, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: adminTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // what strangers break off, and blobs that were cut short
	}
	go func() { _ = server.Serve(listener) }() // until closed
	if b.doors == nil {
		b.doors = map[string]standingDoor{}
	}
	b.doors[address] = standingDoor{door, server}
	return door, nil
}
