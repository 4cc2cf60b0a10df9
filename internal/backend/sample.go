package backend

import (
	"cmp"
	"mime"
	"strings"
)

// Sampler is a backend that knows what its results look like, for examples.
type Sampler interface {
	Sample() (contentType string, body []byte)
}

// Sample is the verdict on a clean document.
func (c *Clamd) Sample() (contentType string, body []byte) {
	return "application/json", []byte(`{"infected": false, "signature": null}`)
}

// Sample has the content type of the command's results.
func (c *Command) Sample() (contentType string, body []byte) {
	contentType = cmp.Or(c.config.OutputType, octets)
	return contentType, sampleOf(contentType)
}

// Sample is a request.
func (Relay) Sample() (contentType string, body []byte) {
	return "application/json", []byte(`{"order": 7}`)
}

// Sample is a result of the backend, or of any one.
func Sample(b Backend) (contentType string, body []byte) {
	if s, ok := b.(Sampler); ok {
		return s.Sample()
	}
	return "application/json", []byte(`{"answer": 42}`)
}

// sampleOf is a body that can have the content type.
func sampleOf(contentType string) []byte {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")):
		return []byte(`{"answer": 42}`)
	case err == nil && strings.HasPrefix(media, "text/"):
		return []byte("the answer is 42\n")
	}
	return []byte{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0xff}
}
