package callback

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/textproto"
)

// multipartForm is multipart/form-data (RFC 7578): what happened as fields, and the
// result as a file of its own content type, streamed from disk where it is large.
type multipartForm struct{}

func (multipartForm) links(message) bool { return false }

func (multipartForm) content(m message) (content, error) {
	var head, tail bytes.Buffer
	// Made of the id: it is the same at each attempt, and nobody could have put it
	// into a result before.
	boundary := "ringback-" + m.cb.ID.Callback()
	w := multipart.NewWriter(&head)
	if err := w.SetBoundary(boundary); err != nil {
		return content{}, err
	}
	for _, f := range append(m.facts(), m.progressFields()...) {
		if err := w.WriteField(f.name, f.value); err != nil {
			return content{}, err
		}
	}
	c := content{Type: w.FormDataContentType(), Header: m.stateHeader()}
	r := m.result()
	if r == nil {
		err := w.Close()
		c.Body = head.Bytes()
		return c, err
	}
	_, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="result"; filename="result"`},
		"Content-Type":        {mediaType(r)},
	})
	if err != nil {
		return content{}, err
	}
	tail.WriteString("\r\n--" + boundary + "--\r\n")
	body := m.body()
	if body.Ref == "" {
		c.Body = append(append(head.Bytes(), body.Inline...), tail.Bytes()...)
		return c, nil
	}
	c.Size = int64(head.Len()) + body.Size + int64(tail.Len())
	c.Open = func() (io.ReadCloser, error) {
		file, err := m.open(body)
		if err != nil {
			return nil, err
		}
		return &framed{Reader: io.MultiReader(bytes.NewReader(head.Bytes()), file, bytes.NewReader(tail.Bytes())), Closer: file}, nil
	}
	return c, nil
}

// framed reads what stands around a file, and the file.
type framed struct {
	io.Reader
	io.Closer
}
