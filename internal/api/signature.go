package api

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// checkSignature reads the schemes that callbacks are signed with, and asks whether
// their headers may be sent. Its error is a *sign.SchemesError.
func checkSignature(text string, checkHeader func(name, value string) error) (sign.Schemes, error) {
	schemes, err := sign.ParseSchemes(text)
	if err != nil {
		return nil, err
	}
	for i, scheme := range schemes {
		at := ""
		if len(schemes) > 1 {
			at = fmt.Sprintf("/%d", i)
		}
		l := scheme.Legacy
		if l == nil || checkHeader == nil {
			continue
		}
		for field, name := range map[string]string{"header": l.Header, "timestamp_header": l.TimestampHeader} {
			if name == "" {
				continue
			}
			if err := checkHeader(name, "x"); err != nil {
				return nil, &sign.SchemesError{Pointer: at + "/legacy/" + field, Message: err.Error(), Hint: "choose another name"}
			}
		}
	}
	return schemes, nil
}

const streamedDetail = "v1a needs the whole body in memory, and a callback of this format is streamed where the result is large: use v1 or rfc9421, or another format"

// streams tells whether the format sends a body that need not be in memory.
func streams(format string) bool { return format == job.FormatRaw || format == job.FormatMultipart }

// contractSignature checks what an operation says about the signature.
func (a *API) contractSignature(c job.Contract) error {
	schemes, err := checkSignature(c.Signature, a.opt.CheckHeader)
	if err == nil && schemes.Has(sign.SchemeV1a) && streams(c.Format) {
		err = errors.New(streamedDetail)
	}
	return err
}

// setSignature gives an endpoint the schemes of a request: nil leaves what there is,
// an empty text or list takes it away.
func (v *v1) setSignature(e *job.Endpoint, sent any) error {
	if list, ok := sent.([]any); ok && len(list) == 0 {
		sent = ""
	}
	text := e.Signature
	switch given := sent.(type) {
	case nil:
	case string:
		text = given
	default:
		data, err := json.Marshal(given)
		if err != nil {
			return faultyBody(ProblemItem{Pointer: "#/signature", Detail: "this is no signature"})
		}
		text = string(data)
	}
	schemes, err := checkSignature(text, v.opt.CheckHeader)
	var at *sign.SchemesError
	if errors.As(err, &at) {
		p := faultyBody(ProblemItem{Pointer: "#/signature" + at.Pointer, Detail: at.Message})
		if at.Hint != "" {
			p = p.withHint(at.Hint)
		}
		return p
	}
	e.Signature = schemes.String()
	return nil
}

// showSignature is a signature as the API shows it; nil for none.
func showSignature(text string) any {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
