//go:build !pkcs11key || !cgo

package pkcs11

import "errors"

// Supported says whether this build can open tokens.
const Supported = false

// Open says that this is not the build for it.
func Open(Token) (*Key, error) {
	return nil, errors.New("this build cannot use hardware security modules; make the one that can with: make build-pkcs11")
}
