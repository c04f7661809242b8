package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// ticket is where an upload goes on: the location that the upstream gave, for one repository. Clients hold it sealed, as
// the id of the upload, so they can neither read the upstream's state nor make one up, and the gateway keeps nothing.
type ticket struct {
	Registry string `json:"r"`
	Repo     string `json:"n"`           // as the client names it
	Client   string `json:"c,omitempty"` // who began it; empty for an anonymous client
	Path     string `json:"p"`           // at the upstream
	Query    string `json:"q,omitempty"`

	// Fresh says that no byte was sent yet: a body that finishes the upload is the whole blob.
	Fresh bool `json:"f,omitempty"`
}

// ticketOffice seals and opens tickets with a key of its own process: a restart ends the uploads under way, and their
// clients begin again.
type ticketOffice struct{ aead cipher.AEAD }

func newTicketOffice() *ticketOffice {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails, or ends the program
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("gateway: a 32 byte key fits AES: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("gateway: AES fits GCM: " + err.Error())
	}
	return &ticketOffice{aead}
}

func (o *ticketOffice) seal(t ticket) string {
	plain, err := json.Marshal(t)
	if err != nil {
		panic("gateway: plain structs always marshal: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(o.aead.Seal(nil, nil, plain, nil))
}

// open returns the ticket of an upload. One of another repository, of another client, of another process or made up is no
// upload at all.
func (o *ticketOffice) open(id, repo, client string) (ticket, error) {
	var t ticket
	unknown := &requestError{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload; begin again"}
	sealed, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		return t, unknown
	}
	plain, err := o.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return t, unknown
	}
	if err := json.Unmarshal(plain, &t); err != nil || t.Repo != repo || t.Client != client {
		return ticket{}, unknown
	}
	return t, nil
}
