/* A station that speaks to the cloud by libcoap over TLS, one connection, driven by lines.
 *
 *   libcoap_station HOST PORT TRUST_ANCHOR CERTIFICATE KEY [MAX_MESSAGE_SIZE]
 *
 * With a Max-Message-Size answers that are larger come in blocks, which libcoap puts together.
 *
 * Standard input                         Standard output
 *   serve PATH HEX                         served          GET on PATH is answered so, observable
 *   change PATH HEX                        changed         and now so; observers are notified
 *   ask METHOD PATH [QUERY|-] [HEX]        CODE HEX        one request and its answer
 *   observe PATH                           CODE HEX        the first answer
 *   next                                   CODE HEX        the next notification
 *
 * HEX is CBOR, or - for none. Ends with standard input, or with an error after a while of silence.
 */

#include <coap3/coap.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OCF_CBOR 10000
#define OCF_ACCEPT_VERSION 2049
#define OCF_CONTENT_VERSION 2053
#define BODY_MAX 4096
#define PATIENCE_MS 120000

typedef struct {
  coap_string_t path;
  uint8_t body[BODY_MAX];
  size_t length;
  coap_resource_t *resource;
} served_t;

static coap_context_t *context;
static coap_session_t *session;
static served_t served;

/* What came last with the token that is waited for. */
static coap_bin_const_t awaited;
static uint8_t awaited_bytes[8];
static int arrived;
static int arrived_code;
static uint8_t arrived_body[BODY_MAX];
static size_t arrived_length;

static void fail(const char *what) {
  fprintf(stderr, "libcoap_station: %s\n", what);
  exit(1);
}

static size_t from_hex(const char *text, uint8_t *bytes) {
  size_t length = 0;
  if (!text || strcmp(text, "-") == 0) return 0;
  for (; text[0] && text[1]; text += 2) {
    unsigned value;
    if (length == BODY_MAX || sscanf(text, "%2x", &value) != 1) fail("bad hex");
    bytes[length++] = (uint8_t)value;
  }
  return length;
}

static coap_response_t on_response(coap_session_t *s, const coap_pdu_t *sent,
                                   const coap_pdu_t *received, const coap_mid_t id) {
  (void)s, (void)sent, (void)id;
  coap_bin_const_t token = coap_pdu_get_token(received);
  const uint8_t *data = NULL;
  size_t length = 0, offset = 0, total = 0;
  if (!coap_binary_equal(&token, &awaited)) return COAP_RESPONSE_OK;
  coap_get_data_large(received, &length, &data, &offset, &total);
  if (offset || length != total) fail("the answer is not whole");
  if (length > BODY_MAX) fail("the answer is too long");
  if (length) memcpy(arrived_body, data, length);
  arrived_length = length;
  arrived_code = coap_pdu_get_code(received);
  arrived = 1;
  return COAP_RESPONSE_OK;
}

static void on_get(coap_resource_t *resource, coap_session_t *s, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response) {
  (void)query;
  coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
  coap_add_data_large_response(resource, s, request, response, query, OCF_CBOR, -1, 0,
                               served.length, served.body, NULL, NULL);
}

static void wait_for_answer(void) {
  for (int waited = 0; !arrived; ) {
    int spent = coap_io_process(context, 1000);
    if (spent < 0 || (waited += spent) > PATIENCE_MS) fail("no answer");
  }
  arrived = 0;
  printf("%d.%02d ", arrived_code >> 5, arrived_code & 31);
  for (size_t i = 0; i < arrived_length; i++) printf("%02x", arrived_body[i]);
  printf(arrived_length ? "\n" : "-\n");
  fflush(stdout);
}

static void add_segments(coap_optlist_t **options, uint16_t number, char *text, const char *between) {
  for (char *rest, *part = strtok_r(text, between, &rest); part; part = strtok_r(NULL, between, &rest))
    coap_insert_optlist(options, coap_new_optlist(number, strlen(part), (const uint8_t *)part));
}

static void ask(const char *method, char *path, char *query, const char *hex, int observe) {
  static const char *const names[] = {"GET", "POST", "PUT", "DELETE"};
  int code = 0;
  for (int i = 0; i < 4; i++)
    if (strcmp(method, names[i]) == 0) code = i + 1;
  if (!code || !path) fail("what is to be asked?");
  uint8_t body[BODY_MAX], number[4];
  size_t length = from_hex(hex, body), token_length;
  coap_optlist_t *options = NULL;
  coap_pdu_t *pdu = coap_new_pdu(COAP_MESSAGE_CON, (coap_pdu_code_t)code, session);
  coap_session_new_token(session, &token_length, awaited_bytes);
  awaited = (coap_bin_const_t){token_length, awaited_bytes};
  /* What came before is no answer: an observation that nobody waits for may have ended. */
  arrived = 0;
  coap_add_token(pdu, token_length, awaited_bytes);
  if (observe) coap_insert_optlist(&options, coap_new_optlist(COAP_OPTION_OBSERVE, 0, NULL));
  add_segments(&options, COAP_OPTION_URI_PATH, path, "/");
  if (length) {
    size_t bytes = coap_encode_var_safe(number, sizeof number, OCF_CBOR);
    coap_insert_optlist(&options, coap_new_optlist(COAP_OPTION_CONTENT_FORMAT, bytes, number));
  }
  if (query && strcmp(query, "-") != 0) add_segments(&options, COAP_OPTION_URI_QUERY, query, "&");
  coap_add_optlist_pdu(pdu, &options);
  coap_delete_optlist(options);
  if (length) coap_add_data(pdu, length, body);
  if (coap_send(session, pdu) == COAP_INVALID_MID) fail("cannot send");
  wait_for_answer();
}

static void serve(const char *path, const char *hex) {
  served.length = from_hex(hex, served.body);
  served.resource = coap_resource_init(coap_make_str_const(strdup(path + 1)), 0);
  coap_register_request_handler(served.resource, COAP_REQUEST_GET, on_get);
  coap_resource_set_get_observable(served.resource, 1);
  coap_add_resource(context, served.resource);
  puts("served");
}

static void obey(char *line) {
  char *rest, *word = strtok_r(line, " \n", &rest);
  char *part[4] = {0};
  for (int i = 0; i < 4; i++) part[i] = strtok_r(NULL, " \n", &rest);
  if (!word) return;
  if (strcmp(word, "ask") == 0) ask(part[0] ? part[0] : "", part[1], part[2], part[3], 0);
  else if (strcmp(word, "observe") == 0) ask("GET", part[0], NULL, NULL, 1);
  else if (strcmp(word, "next") == 0) wait_for_answer();
  else if (strcmp(word, "serve") == 0) serve(part[0], part[1]);
  else if (strcmp(word, "change") == 0) {
    served.length = from_hex(part[1], served.body);
    coap_resource_notify_observers(served.resource, NULL);
    puts("changed");
  } else fail("unknown word");
  fflush(stdout);
}

static void connect_to(char **arguments) {
  /* Not the PKI's own CA file: that one is for peers whose certificates have one root. */
  if (!coap_context_set_pki_root_cas(context, arguments[3], NULL)) fail("cannot read the trust anchor");
  coap_dtls_pki_t pki;
  memset(&pki, 0, sizeof pki);
  pki.version = COAP_DTLS_PKI_SETUP_VERSION;
  pki.verify_peer_cert = 1;
  pki.cert_chain_validation = 1;
  pki.cert_chain_verify_depth = 3;
  pki.pki_key.key_type = COAP_PKI_KEY_PEM;
  pki.pki_key.key.pem.public_cert = arguments[4];
  pki.pki_key.key.pem.private_key = arguments[5];
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
  if (getaddrinfo(arguments[1], arguments[2], &hints, &found) != 0) fail("no such address");
  coap_address_t address;
  coap_address_init(&address);
  address.size = found->ai_addrlen;
  memcpy(&address.addr, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  session = coap_new_client_session_pki(context, NULL, &address, COAP_PROTO_TLS, &pki);
  if (!session) fail("cannot connect");
}

int main(int count, char **arguments) {
  if (count != 6 && count != 7) fail("HOST PORT TRUST_ANCHOR CERTIFICATE KEY [MAX_MESSAGE_SIZE]");
  coap_startup();
  context = coap_new_context(NULL);
  if (!context) fail("no context");
  coap_register_response_handler(context, on_response);
  /* OCF's version options are critical: who does not know them must refuse what has them. */
  coap_register_option(context, OCF_ACCEPT_VERSION);
  coap_register_option(context, OCF_CONTENT_VERSION);
  if (count == 7) {
    coap_context_set_csm_max_message_size(context, (uint32_t)strtoul(arguments[6], NULL, 10));
    coap_context_set_block_mode(context, COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY);
  }
  connect_to(arguments);
  static char line[4 * BODY_MAX];
  struct pollfd input = {.fd = 0, .events = POLLIN};
  for (int silent = 0; silent < PATIENCE_MS;) {
    if (poll(&input, 1, 10) > 0) {
      if (!fgets(line, sizeof line, stdin)) break;
      obey(line);
      silent = 0;
    }
    int spent = coap_io_process(context, COAP_IO_NO_WAIT);
    if (spent < 0) fail("the connection is gone");
    silent += 10;
  }
  coap_session_release(session);
  coap_free_context(context);
  coap_cleanup();
  return 0;
}
