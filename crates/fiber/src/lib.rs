//! fiber.
