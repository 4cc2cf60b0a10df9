package sign

// SignatureBase lets the vectors of RFC 9421 be checked, which are not of our profile.
var SignatureBase = signatureBase

// SignBase signs a base with a key's RFC 9421 algorithm, VerifyBase checks it.
func SignBase(s Secret, base string) []byte { return s.baseSigner().signBase(base) }

// VerifyBase checks the signature of a base.
func VerifyBase(s Secret, base string, signature []byte) bool {
	return s.key().verifier.(baseVerifier).verifyBase(base, signature)
}

// CheckDigest checks a Content-Digest.
var CheckDigest = checkDigest
