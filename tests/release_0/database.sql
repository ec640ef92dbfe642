--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: append_changes(bytea[], text[], text[], text[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.append_changes(bodies bytea[], kinds text[], organizations text[], ids text[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
  last_rev   bigint;
  last_chain bytea;
  row_at     timestamptz;
BEGIN
  SELECT h.rev, h.chain INTO STRICT last_rev, last_chain FROM log_head AS h FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(bodies) LOOP
    last_rev := last_rev + 1;
    row_at := clock_timestamp();
    last_chain := sha256(last_chain || int8send(last_rev) || int8send((extract(epoch FROM row_at) * 1000000)::bigint)
                         || int4send(length(bodies[i])) || bodies[i]);
    INSERT INTO change_log (rev, at, body, chain, kid)
      VALUES (last_rev, row_at, bodies[i], last_chain, CASE WHEN kinds[i] = 'key' THEN ids[i] END);
    CASE kinds[i]
      WHEN 'key' THEN
        UPDATE keys AS k SET revision = last_rev WHERE k.kid = ids[i];
      WHEN 'organization' THEN
        UPDATE organizations AS o SET revision = last_rev WHERE o.id = ids[i];
      WHEN 'role' THEN
        UPDATE roles AS r SET revision = last_rev WHERE r.organization = organizations[i] AND r.id = ids[i];
      WHEN 'settings' THEN
        UPDATE settings AS s SET revision = last_rev;
    END CASE;
  END LOOP;
  UPDATE log_head AS h SET rev = last_rev, chain = last_chain;
  RETURN last_rev;
END
$$;


--
-- Name: forget_uses_of_purged_keys(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.forget_uses_of_purged_keys() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  DELETE FROM key_use AS u USING gone WHERE u.kid = gone.kid;
  DELETE FROM key_use_hours AS u USING gone WHERE u.kid = gone.kid;
  RETURN NULL;
END
$$;


--
-- Name: refuse_change_log_rewrite(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.refuse_change_log_rewrite() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  RAISE EXCEPTION 'change_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: change_log; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.change_log (
    rev bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    body bytea NOT NULL,
    chain bytea NOT NULL,
    kid text COLLATE pg_catalog."C",
    CONSTRAINT change_log_chain_check CHECK ((length(chain) = 32))
);


--
-- Name: key_ring_checks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.key_ring_checks (
    id text NOT NULL COLLATE pg_catalog."C",
    check_value bytea NOT NULL
);


--
-- Name: key_use; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.key_use (
    kid text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    last_used_at timestamp with time zone NOT NULL
)
WITH (fillfactor='80');


--
-- Name: key_use_hours; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.key_use_hours (
    kid text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    hour timestamp with time zone NOT NULL,
    decision smallint NOT NULL,
    count bigint NOT NULL
)
WITH (fillfactor='80');


--
-- Name: keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.keys (
    kid text NOT NULL COLLATE pg_catalog."C",
    organization text NOT NULL COLLATE pg_catalog."C",
    display_name text NOT NULL,
    description text NOT NULL,
    role text NOT NULL COLLATE pg_catalog."C",
    owner text NOT NULL,
    labels jsonb NOT NULL,
    key_hint text NOT NULL,
    creator text NOT NULL,
    creator_kid text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone NOT NULL,
    purge_at timestamp with time zone NOT NULL,
    delete_reason smallint NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    allowed_cidrs text[] DEFAULT '{}'::text[] NOT NULL
)
WITH (fillfactor='80');


--
-- Name: log_head; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.log_head (
    single boolean DEFAULT true NOT NULL,
    rev bigint NOT NULL,
    chain bytea NOT NULL,
    CONSTRAINT log_head_single_check CHECK (single)
)
WITH (fillfactor='10', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_cost_delay='0');


--
-- Name: milestones; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.milestones (
    name text NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: organizations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.organizations (
    id text NOT NULL COLLATE pg_catalog."C",
    display_name text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
    revision bigint DEFAULT 0 NOT NULL
);


--
-- Name: proofs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.proofs (
    kid text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    generation "char" NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT proofs_digest_check CHECK ((length(digest) = 16))
);


--
-- Name: replica_lease; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.replica_lease (
    replica text NOT NULL COLLATE pg_catalog."C",
    beat bigint DEFAULT 0 NOT NULL,
    applied_rev bigint DEFAULT 0 NOT NULL,
    acknowledged_rev bigint DEFAULT 0 NOT NULL,
    doorbell text NOT NULL,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (fillfactor='10', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_cost_delay='0');


--
-- Name: request_ids; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.request_ids (
    scope text NOT NULL COLLATE pg_catalog."C",
    request_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: roles; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.roles (
    organization text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    display_name text NOT NULL,
    description text NOT NULL,
    documentation_uri text NOT NULL,
    permissions text[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    revision bigint DEFAULT 0 NOT NULL
);


--
-- Name: schema_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: secret_versions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.secret_versions (
    kid text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    hash text,
    pepper_id text,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);


--
-- Name: settings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.settings (
    single boolean DEFAULT true NOT NULL,
    bound_us bigint NOT NULL,
    previous_bound_us bigint NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    CONSTRAINT settings_bound_us_check CHECK (((bound_us >= 2000000) AND (bound_us <= 60000000))),
    CONSTRAINT settings_previous_bound_us_check CHECK (((previous_bound_us >= 2000000) AND (previous_bound_us <= 60000000))),
    CONSTRAINT settings_single_check CHECK (single)
);


--
-- Name: use_reports; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.use_reports (
    reporter text NOT NULL COLLATE pg_catalog."C",
    request_id text NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Data for Name: change_log; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.change_log VALUES (0, '2026-11-29 04:11:13.289594+00', '\x', '\x62a368d2fd155e32397f5c4f8a18858d63fda2296a11e08c7b192574db85feda', NULL);
INSERT INTO public.change_log VALUES (1, '2026-11-29 04:11:13.492233+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2273797374656d222c226b6964223a226a68743465664a734c765a6b65725a6c222c22646973706c61795f6e616d65223a224669727374206f776e6572222c226465736372697074696f6e223a22222c22726f6c65223a226f776e6572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f6a687434e280a66a665532222c2263726561746f72223a22626f6f747374726170222c2263726561746f725f6b6964223a22222c22637265617465645f6174223a313739353932353437333437393437352c22757064617465645f6174223a313739353932353437333437393437352c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353437333437393437357d5d7d2c226175646974223a7b227072696e636970616c223a22626f6f747374726170222c2270656572223a22222c226d6574686f64223a22626f6f747374726170222c22726571756573745f6964223a22222c22736572766572223a22766d3a35313135227d7d', '\x980418ae5d9b69c21772ef7514bbf5c31afc56b4cef6bd61374f7e24dcef31f3', 'jht4efJsLvZkerZl');
INSERT INTO public.change_log VALUES (2, '2026-11-29 04:11:13.495423+00', '\x7b2276223a312c226f7267616e697a6174696f6e223a7b226964223a2261636d65222c22646973706c61795f6e616d65223a2261636d65222c22637265617465645f6174223a313739353932353437333437393437352c22757064617465645f6174223a313739353932353437333437393437357d2c226175646974223a7b227072696e636970616c223a22626f6f747374726170222c2270656572223a22222c226d6574686f64223a22626f6f747374726170222c22726571756573745f6964223a22222c22736572766572223a22766d3a35313135227d7d', '\x79b361b2e90eae5032e8d352f656e749bf489734f9a636c70bf478481c00a54b', NULL);
INSERT INTO public.change_log VALUES (3, '2026-11-29 04:11:13.495593+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2261636d65222c226b6964223a22495a6b666759696d47505672464a644f222c22646973706c61795f6e616d65223a224669727374206f776e6572222c226465736372697074696f6e223a22222c22726f6c65223a226f776e6572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f495a6b66e280a64e4d5336222c2263726561746f72223a22626f6f747374726170222c2263726561746f725f6b6964223a22222c22637265617465645f6174223a313739353932353437333437393437352c22757064617465645f6174223a313739353932353437333437393437352c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353437333437393437357d5d7d2c226175646974223a7b227072696e636970616c223a22626f6f747374726170222c2270656572223a22222c226d6574686f64223a22626f6f747374726170222c22726571756573745f6964223a22222c22736572766572223a22766d3a35313135227d7d', '\x854f8fa041f04ad975c296d5f33715c1949a9d2dae4cab38f47526635b452696', 'IZkfgYimGPVrFJdO');
INSERT INTO public.change_log VALUES (4, '2026-11-29 04:11:13.495791+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2273797374656d222c226b6964223a2239526942417a4138526d78555a58536f222c22646973706c61795f6e616d65223a224669727374207665726966696572222c226465736372697074696f6e223a22222c22726f6c65223a227665726966696572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f39526942e280a672574f4e222c2263726561746f72223a22626f6f747374726170222c2263726561746f725f6b6964223a22222c22637265617465645f6174223a313739353932353437333437393437352c22757064617465645f6174223a313739353932353437333437393437352c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353437333437393437357d5d7d2c226175646974223a7b227072696e636970616c223a22626f6f747374726170222c2270656572223a22222c226d6574686f64223a22626f6f747374726170222c22726571756573745f6964223a22222c22736572766572223a22766d3a35313135227d7d', '\xcead79844420a00897fccecbdbfcd6f509d17315ea8fed809b09e48678693eef', '9RiBAzA8RmxUZXSo');
INSERT INTO public.change_log VALUES (5, '2026-11-29 04:11:29.584307+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2261636d65222c226b6964223a224d3036594a467a4652496d5332766554222c22646973706c61795f6e616d65223a224349206465706c6f79222c226465736372697074696f6e223a22666972737420776f726473222c22726f6c65223a22656469746f72222c226f776e6572223a226275696c644061636d652e6578616d706c65222c226c6162656c73223a7b227465616d223a22776562227d2c226b65795f68696e74223a226c6b315f4d303659e280a659766a68222c2263726561746f72223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2263726561746f725f6b6964223a22495a6b666759696d47505672464a644f222c22637265617465645f6174223a313739353932353438393537343635362c22757064617465645f6174223a313739353932353438393537343635362c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353438393537343635367d5d7d2c226175646974223a7b227072696e636970616c223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2270656572223a22697076343a3132372e302e302e313a3434313036222c226d6574686f64223a226c617463686b65792e76312e4b657941646d696e2f4372656174654b6579222c22726571756573745f6964223a2264313264323638612d346361372d346666612d626361632d353466386437646265323338222c22736572766572223a22766d3a35313135227d7d', '\x425fa17881e5b53fef69815cdc5f8180a98a2c3fded67a9ed9b481df5f60d527', 'M06YJFzFRImS2veT');
INSERT INTO public.change_log VALUES (6, '2026-11-29 04:11:29.663653+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2261636d65222c226b6964223a224443747a7a373769534b47384176644c222c22646973706c61795f6e616d65223a224c65616b6564222c226465736372697074696f6e223a22222c22726f6c65223a22766965776572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f4443747ae280a653653934222c2263726561746f72223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2263726561746f725f6b6964223a22495a6b666759696d47505672464a644f222c22637265617465645f6174223a313739353932353438393636323339312c22757064617465645f6174223a313739353932353438393636323339312c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353438393636323339317d5d7d2c226175646974223a7b227072696e636970616c223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2270656572223a22697076343a3132372e302e302e313a3434313138222c226d6574686f64223a226c617463686b65792e76312e4b657941646d696e2f4372656174654b6579222c22726571756573745f6964223a2232663663386639392d393363362d343566342d393334312d643164663735636130636239222c22736572766572223a22766d3a35313135227d7d', '\x64ad791c053af5145caeecd0d0c4fe106ee0503d4515cf682a2367c49f297a7e', 'DCtzz77iSKG8AvdL');
INSERT INTO public.change_log VALUES (7, '2026-11-29 04:11:29.735364+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2261636d65222c226b6964223a22647572474158536a5639597634353978222c22646973706c61795f6e616d65223a22456e6473222c226465736372697074696f6e223a22222c22726f6c65223a22766965776572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f64757247e280a64f4b5837222c2263726561746f72223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2263726561746f725f6b6964223a22495a6b666759696d47505672464a644f222c22637265617465645f6174223a313739353932353438393733343031302c22757064617465645f6174223a313739353932353438393733343031302c22657870697265735f6174223a343130323534323234353030303030302c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353438393733343031307d5d7d2c226175646974223a7b227072696e636970616c223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2270656572223a22697076343a3132372e302e302e313a3434313238222c226d6574686f64223a226c617463686b65792e76312e4b657941646d696e2f4372656174654b6579222c22726571756573745f6964223a2237356266363530382d386432382d343333352d613038642d343337386336373636343139222c22736572766572223a22766d3a35313135227d7d', '\x747e68fcac863cd4b9a6231c211f8d7a10f9099124095fc68304ff596761615e', 'durGAXSjV9Yv459x');
INSERT INTO public.change_log VALUES (8, '2026-11-29 04:15:20.805195+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2261636d65222c226b6964223a22647572474158536a5639597634353978222c22646973706c61795f6e616d65223a22456e64732c2072656e616d6564222c226465736372697074696f6e223a22222c22726f6c65223a22766965776572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f64757247e280a64f4b5837222c2263726561746f72223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2263726561746f725f6b6964223a22495a6b666759696d47505672464a644f222c22637265617465645f6174223a313739353932353438393733343031302c22757064617465645f6174223a313739353932353732303739323339362c22657870697265735f6174223a343130323534323234353030303030302c2264656c6574655f726561736f6e223a302c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353438393733343031307d5d7d2c226175646974223a7b227072696e636970616c223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2270656572223a22697076343a3132372e302e302e313a3630313132222c226d6574686f64223a226c617463686b65792e76312e4b657941646d696e2f5570646174654b6579222c22726571756573745f6964223a22222c22736572766572223a22766d3a36333537227d7d', '\xd3cfb38a1a139f490daa6c85886758712fe2ed4d4050ad5bc4d77da279e85588', 'durGAXSjV9Yv459x');
INSERT INTO public.change_log VALUES (9, '2026-11-29 04:15:20.942048+00', '\x7b2276223a312c226b6579223a7b226f7267616e697a6174696f6e223a2261636d65222c226b6964223a224443747a7a373769534b47384176644c222c22646973706c61795f6e616d65223a224c65616b6564222c226465736372697074696f6e223a22222c22726f6c65223a22766965776572222c226f776e6572223a22222c226c6162656c73223a7b7d2c226b65795f68696e74223a226c6b315f4443747ae280a653653934222c2263726561746f72223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2263726561746f725f6b6964223a22495a6b666759696d47505672464a644f222c22637265617465645f6174223a313739353932353438393636323339312c22757064617465645f6174223a313739353932353732303934313136382c2264656c657465645f6174223a313739353932353732303934313136382c2270757267655f6174223a313830333730313732303934313136382c2264656c6574655f726561736f6e223a332c2276657273696f6e73223a5b7b226964223a312c22637265617465645f6174223a313739353932353438393636323339317d5d7d2c226175646974223a7b227072696e636970616c223a226f7267616e697a6174696f6e732f61636d652f6b6579732f495a6b666759696d47505672464a644f222c2270656572223a22697076343a3132372e302e302e313a3630313134222c226d6574686f64223a226c617463686b65792e76312e4b657941646d696e2f44656c6574654b6579222c22726571756573745f6964223a22222c22736572766572223a22766d3a36333537227d7d', '\xd4aca759227b82fd7f508eb9ed0b835c4cd57e300eac811e2b0655b08bffa1be', 'DCtzz77iSKG8AvdL');


--
-- Data for Name: key_ring_checks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.key_ring_checks VALUES ('import/1', '\x39373165313932393862303333653731');
INSERT INTO public.key_ring_checks VALUES ('pepper/1', '\x30646337303336623364613838396566');
INSERT INTO public.key_ring_checks VALUES ('proof/1', '\x33396364613034313639323833346639');
INSERT INTO public.key_ring_checks VALUES ('tag/1', '\x39323337613965623731656539336362');
INSERT INTO public.key_ring_checks VALUES ('token/1', '\x30386239303232626461323035383536');


--
-- Data for Name: key_use; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.key_use VALUES ('DCtzz77iSKG8AvdL', 1, '2026-11-29 04:14:00+00');
INSERT INTO public.key_use VALUES ('M06YJFzFRImS2veT', 1, '2026-11-29 04:14:00+00');
INSERT INTO public.key_use VALUES ('durGAXSjV9Yv459x', 1, '2026-11-29 04:14:00+00');
INSERT INTO public.key_use VALUES ('9RiBAzA8RmxUZXSo', 1, '2026-11-29 04:15:00+00');
INSERT INTO public.key_use VALUES ('IZkfgYimGPVrFJdO', 1, '2026-11-29 04:15:00+00');


--
-- Data for Name: key_use_hours; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.key_use_hours VALUES ('DCtzz77iSKG8AvdL', 1, '2026-11-29 04:00:00+00', 1, 1);
INSERT INTO public.key_use_hours VALUES ('M06YJFzFRImS2veT', 1, '2026-11-29 04:00:00+00', 1, 1);
INSERT INTO public.key_use_hours VALUES ('durGAXSjV9Yv459x', 1, '2026-11-29 04:00:00+00', 1, 1);
INSERT INTO public.key_use_hours VALUES ('9RiBAzA8RmxUZXSo', 1, '2026-11-29 04:00:00+00', 1, 4);
INSERT INTO public.key_use_hours VALUES ('DCtzz77iSKG8AvdL', 1, '2026-11-29 04:00:00+00', 4, 1);
INSERT INTO public.key_use_hours VALUES ('IZkfgYimGPVrFJdO', 1, '2026-11-29 04:00:00+00', 1, 5);


--
-- Data for Name: keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.keys VALUES ('jht4efJsLvZkerZl', 'system', 'First owner', '', 'owner', '', '{}', 'lk1_jht4…jfU2', 'bootstrap', '', '2026-11-29 04:11:13.479475+00', '2026-11-29 04:11:13.479475+00', 'infinity', 'infinity', 'infinity', 0, 1, '{}');
INSERT INTO public.keys VALUES ('IZkfgYimGPVrFJdO', 'acme', 'First owner', '', 'owner', '', '{}', 'lk1_IZkf…NMS6', 'bootstrap', '', '2026-11-29 04:11:13.479475+00', '2026-11-29 04:11:13.479475+00', 'infinity', 'infinity', 'infinity', 0, 3, '{}');
INSERT INTO public.keys VALUES ('9RiBAzA8RmxUZXSo', 'system', 'First verifier', '', 'verifier', '', '{}', 'lk1_9RiB…rWON', 'bootstrap', '', '2026-11-29 04:11:13.479475+00', '2026-11-29 04:11:13.479475+00', 'infinity', 'infinity', 'infinity', 0, 4, '{}');
INSERT INTO public.keys VALUES ('M06YJFzFRImS2veT', 'acme', 'CI deploy', 'first words', 'editor', 'build@acme.example', '{"team": "web"}', 'lk1_M06Y…Yvjh', 'organizations/acme/keys/IZkfgYimGPVrFJdO', 'IZkfgYimGPVrFJdO', '2026-11-29 04:11:29.574656+00', '2026-11-29 04:11:29.574656+00', 'infinity', 'infinity', 'infinity', 0, 5, '{}');
INSERT INTO public.keys VALUES ('durGAXSjV9Yv459x', 'acme', 'Ends, renamed', '', 'viewer', '', '{}', 'lk1_durG…OKX7', 'organizations/acme/keys/IZkfgYimGPVrFJdO', 'IZkfgYimGPVrFJdO', '2026-11-29 04:11:29.73401+00', '2026-11-29 04:15:20.792396+00', '2100-01-02 03:04:05+00', 'infinity', 'infinity', 0, 8, '{}');
INSERT INTO public.keys VALUES ('DCtzz77iSKG8AvdL', 'acme', 'Leaked', '', 'viewer', '', '{}', 'lk1_DCtz…Se94', 'organizations/acme/keys/IZkfgYimGPVrFJdO', 'IZkfgYimGPVrFJdO', '2026-11-29 04:11:29.662391+00', '2026-11-29 04:15:20.941168+00', 'infinity', '2026-11-29 04:15:20.941168+00', '2027-02-27 04:15:20.941168+00', 3, 9, '{}');


--
-- Data for Name: log_head; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.log_head VALUES (true, 9, '\xd4aca759227b82fd7f508eb9ed0b835c4cd57e300eac811e2b0655b08bffa1be');


--
-- Data for Name: milestones; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.milestones VALUES ('system_owner', '2026-11-29 04:11:13.485075+00');


--
-- Data for Name: organizations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.organizations VALUES ('system', 'System', '2026-11-29 04:11:13.288771+00', '2026-11-29 04:11:13.288771+00', 'infinity', 0);
INSERT INTO public.organizations VALUES ('acme', 'acme', '2026-11-29 04:11:13.479475+00', '2026-11-29 04:11:13.479475+00', 'infinity', 2);


--
-- Data for Name: proofs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.proofs VALUES ('jht4efJsLvZkerZl', 1, '1', '\x0e2c50440c5710786d2af54ae88683e1');
INSERT INTO public.proofs VALUES ('IZkfgYimGPVrFJdO', 1, '1', '\x2ed80254b842ac0fd814e3f95280ab6e');
INSERT INTO public.proofs VALUES ('9RiBAzA8RmxUZXSo', 1, '1', '\xf9605171f2fc42800d4aaebf7827078e');
INSERT INTO public.proofs VALUES ('M06YJFzFRImS2veT', 1, '1', '\xc97c8207ab66e1725c461a12bf1165ed');
INSERT INTO public.proofs VALUES ('DCtzz77iSKG8AvdL', 1, '1', '\xc17b594a37dc08e71196116f51744ec3');
INSERT INTO public.proofs VALUES ('durGAXSjV9Yv459x', 1, '1', '\x8fed508bc651097f6daaad50900edf57');


--
-- Data for Name: replica_lease; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.replica_lease VALUES ('6467ead78b428bd6821032271eeea22b', 169, 9, 9, '', '2026-11-29 04:17:38.41455+00');


--
-- Data for Name: request_ids; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.request_ids VALUES ('IZkfgYimGPVrFJdO', 'd12d268a-4ca7-4ffa-bcac-54f8d7dbe238', 'organizations/acme/keys/M06YJFzFRImS2veT', '2026-11-29 04:11:29.575007+00');
INSERT INTO public.request_ids VALUES ('IZkfgYimGPVrFJdO', '2f6c8f99-93c6-45f4-9341-d1df75ca0cb9', 'organizations/acme/keys/DCtzz77iSKG8AvdL', '2026-11-29 04:11:29.662683+00');
INSERT INTO public.request_ids VALUES ('IZkfgYimGPVrFJdO', '75bf6508-8d28-4335-a08d-4378c6766419', 'organizations/acme/keys/durGAXSjV9Yv459x', '2026-11-29 04:11:29.734371+00');


--
-- Data for Name: roles; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: schema_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.schema_migrations VALUES (1, '2026-11-29 04:11:13.292453+00');
INSERT INTO public.schema_migrations VALUES (2, '2026-11-29 04:11:13.309733+00');


--
-- Data for Name: secret_versions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.secret_versions VALUES ('jht4efJsLvZkerZl', 1, '$argon2id$v=19$m=19456,t=2,p=1$q+mnG+cjKtzNbdimrb/sCg$ohDG7m8KeyvQ0W33AkUDWrIqc+W6U9iY1xelsOWGZpY', '1', '2026-11-29 04:11:13.479475+00', 'infinity');
INSERT INTO public.secret_versions VALUES ('IZkfgYimGPVrFJdO', 1, '$argon2id$v=19$m=19456,t=2,p=1$F0yneku40iplkLZsR2qFjw$r2z3OJv9bijQi2Czetvhp7ENE4jgo2oLjQPEmGRPDwI', '1', '2026-11-29 04:11:13.479475+00', 'infinity');
INSERT INTO public.secret_versions VALUES ('9RiBAzA8RmxUZXSo', 1, '$argon2id$v=19$m=19456,t=2,p=1$7OSIm5Rs2Iy9TEBM6z2hzQ$qT9CUZq2HokKzIlvQ75KBRVhUpciebHr4QTCDqoeTNo', '1', '2026-11-29 04:11:13.479475+00', 'infinity');
INSERT INTO public.secret_versions VALUES ('M06YJFzFRImS2veT', 1, '$argon2id$v=19$m=19456,t=2,p=1$BFUydYRojIqyQiCZAUHH+Q$FZ1IN549RGZ2NGqa8UqlHQCYcaNl921hn0hY6iBalHQ', '1', '2026-11-29 04:11:29.574656+00', 'infinity');
INSERT INTO public.secret_versions VALUES ('durGAXSjV9Yv459x', 1, '$argon2id$v=19$m=19456,t=2,p=1$p5N97o1fgFa2WkgxxfEZOQ$FZamHoPuuIGHgTzbGNkxiHMEK6Wk2cUDD9P5ahpVKfM', '1', '2026-11-29 04:11:29.73401+00', 'infinity');
INSERT INTO public.secret_versions VALUES ('DCtzz77iSKG8AvdL', 1, '$argon2id$v=19$m=19456,t=2,p=1$riBqLJqpU1Ijv65aQYVe+w$sRJmaZDfKColPBbfS6ZZMFOHHird5gGtoIa0m2fNyno', '1', '2026-11-29 04:11:29.662391+00', 'infinity');


--
-- Data for Name: settings; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.settings VALUES (true, 5000000, 5000000, '1970-01-01 00:00:00+00', 0);


--
-- Data for Name: use_reports; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Name: change_log change_log_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.change_log
    ADD CONSTRAINT change_log_pkey PRIMARY KEY (rev);


--
-- Name: key_ring_checks key_ring_checks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.key_ring_checks
    ADD CONSTRAINT key_ring_checks_pkey PRIMARY KEY (id);


--
-- Name: key_use_hours key_use_hours_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.key_use_hours
    ADD CONSTRAINT key_use_hours_pkey PRIMARY KEY (kid, version, hour, decision);


--
-- Name: key_use key_use_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.key_use
    ADD CONSTRAINT key_use_pkey PRIMARY KEY (kid, version);


--
-- Name: keys keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (kid);


--
-- Name: log_head log_head_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.log_head
    ADD CONSTRAINT log_head_pkey PRIMARY KEY (single);


--
-- Name: milestones milestones_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.milestones
    ADD CONSTRAINT milestones_pkey PRIMARY KEY (name);


--
-- Name: organizations organizations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);


--
-- Name: proofs proofs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.proofs
    ADD CONSTRAINT proofs_pkey PRIMARY KEY (kid, version);


--
-- Name: replica_lease replica_lease_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.replica_lease
    ADD CONSTRAINT replica_lease_pkey PRIMARY KEY (replica);


--
-- Name: request_ids request_ids_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.request_ids
    ADD CONSTRAINT request_ids_pkey PRIMARY KEY (scope, request_id);


--
-- Name: roles roles_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (organization, id);


--
-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);


--
-- Name: secret_versions secret_versions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_pkey PRIMARY KEY (kid, version);


--
-- Name: settings settings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (single);


--
-- Name: use_reports use_reports_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.use_reports
    ADD CONSTRAINT use_reports_pkey PRIMARY KEY (reporter, request_id);


--
-- Name: keys_by_creator; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX keys_by_creator ON public.keys USING btree (creator_kid) WHERE (creator_kid <> ''::text);


--
-- Name: keys_newest_first; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX keys_newest_first ON public.keys USING btree (organization, created_at DESC, kid DESC);


--
-- Name: keys_of_owners; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX keys_of_owners ON public.keys USING btree (organization) WHERE (role = 'owner'::text);


--
-- Name: use_reports_oldest_first; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX use_reports_oldest_first ON public.use_reports USING btree (at);


--
-- Name: change_log change_log_is_append_only; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER change_log_is_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.change_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change_log_rewrite();


--
-- Name: keys purged_keys_take_their_uses_along; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER purged_keys_take_their_uses_along AFTER DELETE ON public.keys REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.forget_uses_of_purged_keys();


--
-- Name: keys keys_organization_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_organization_fkey FOREIGN KEY (organization) REFERENCES public.organizations(id);


--
-- Name: proofs proofs_kid_version_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.proofs
    ADD CONSTRAINT proofs_kid_version_fkey FOREIGN KEY (kid, version) REFERENCES public.secret_versions(kid, version) ON DELETE CASCADE;


--
-- Name: roles roles_organization_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.roles
    ADD CONSTRAINT roles_organization_fkey FOREIGN KEY (organization) REFERENCES public.organizations(id);


--
-- Name: secret_versions secret_versions_kid_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_kid_fkey FOREIGN KEY (kid) REFERENCES public.keys(kid) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


