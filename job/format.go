package job

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The formats of a callback; docs/formats.md shows each of them.
const (
	FormatEnvelope              = "envelope"
	FormatRaw                   = "raw"
	FormatThin                  = "thin"
	FormatCloudEvents           = "cloudevents"
	FormatCloudEventsStructured = "cloudevents-structured"
	FormatForm                  = "form"
	FormatQuery                 = "query"
	FormatMultipart             = "multipart"
	FormatTemplate              = "template"
)

// Formats lists every format that a callback can have.
var Formats = []string{FormatEnvelope, FormatRaw, FormatThin, FormatCloudEvents, FormatCloudEventsStructured, FormatForm,
	FormatQuery, FormatMultipart, FormatTemplate}

// Methods lists every method that a callback can have.
var Methods = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete}

// Bodiless tells whether a callback by the method has no body.
func Bodiless(method string) bool { return method == http.MethodGet || method == http.MethodDelete }

// SaysWithoutBody tells whether a callback of the format has something to say where
// there is no body.
func SaysWithoutBody(format string) bool { return format == FormatQuery || format == FormatThin }

// CheckFormat says what is wrong with a method and a format that are chosen
// together, nil for nothing. An empty one is not chosen, and fits.
func CheckFormat(method, format string) error {
	switch {
	case method != "" && !slices.Contains(Methods, method):
		return fmt.Errorf("the method must be one of %s", strings.Join(Methods, ", "))
	case format != "" && !slices.Contains(Formats, format):
		return fmt.Errorf("the format must be one of %s", strings.Join(Formats, ", "))
	case format != "" && Bodiless(method) && !SaysWithoutBody(format):
		return fmt.Errorf("a %s has no body, and the format %s is nothing without one: it must be query or thin", method, format)
	}
	return nil
}

// CheckFormat says what is wrong with the contract's own method, format and
// template, nil for nothing.
func (c Contract) CheckFormat() error {
	switch err := CheckFormat(c.Method, c.Format); {
	case err != nil:
		return err
	case c.Format == FormatTemplate && c.Template == "":
		return fmt.Errorf("the format template needs a template")
	}
	return nil
}
