// Package pkcs11 opens keys that a hardware security module keeps, by PKCS #11.
//
// A module comes with a library in C, so it is a build of its own: `make build-pkcs11`, with cgo and the tag pkcs11key. Every
// other build says so.
package pkcs11

// Token names a key pair in a token.
type Token struct {
	Module string // the library's file
	Token  string // the token's label
	Label  string // the key pair's
	PIN    string
}
