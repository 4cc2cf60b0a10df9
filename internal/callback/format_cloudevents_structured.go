package callback

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"
)

// structuredCloudEvents is CloudEvents 1.0.2 in the structured mode of its HTTP
// binding: attributes and data together in the JSON format.
type structuredCloudEvents struct{}

func (structuredCloudEvents) links(m message) bool { return m.large() }

func (structuredCloudEvents) content(m message) (content, error) {
	b := append(make([]byte, 0, 512+2*len(m.body().Inline)), '{')
	for i, a := range m.attributes() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, a.name), ':')
		b = appendString(b, a.value)
	}
	if contentType, data := m.eventData(); len(data) > 0 {
		b = append(b, `,"datacontenttype":`...)
		b = appendString(b, contentType)
		b = appendEventData(b, contentType, data)
	}
	return content{Type: "application/cloudevents+json", Header: m.stateHeader(), Body: append(b, '}')}, nil
}

// appendEventData appends the member data or data_base64 (JSON format §3.1): JSON as
// it stands, text as a string, all else in base64. What is called JSON and is none
// must not stand there as a string, which would be read as JSON.
func appendEventData(b []byte, contentType string, data []byte) []byte {
	text := utf8.Valid(data)
	switch isJSON := anyJSON(contentType); {
	case isJSON && text && json.Valid(data):
		b = append(b, `,"data":`...)
		return append(b, data...)
	case !isJSON && text:
		b = append(b, `,"data":`...)
		return appendString(b, string(data))
	}
	b = append(b, `,"data_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

// anyJSON tells whether a content type is */json or */*+json.
func anyJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json"))
}
